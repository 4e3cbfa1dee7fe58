//! Documents and the requests that they describe.

use serde_json::json;

use super::*;

/// `METHOD PATH [Header: value] [body]` of each request that a document describes.
fn requests(document: &str) -> Vec<String> {
    let openapi = OpenapiStep::new(OpenapiSource::Path("/openapi.json".into()));
    let like = Step::new(Action::Openapi(openapi.clone()));
    let (steps, note) = openapi.operations(document.as_bytes(), &like).unwrap();
    assert_eq!(note, None);
    assert!(steps.iter().all(|step| step.secrets().is_empty()), "what the document says is no secret");
    let text = |bytes: &Secret| String::from_utf8(bytes.0.clone()).unwrap();
    let line = |step: Step| {
        let Action::Http(http) = step.action else { panic!() };
        let headers: String = http.headers.iter().map(|(n, v)| format!(" [{n}: {}]", text(v))).collect();
        let body = http.body.as_ref().map(|body| format!(" {}", text(body))).unwrap_or_default();
        format!("{} {}{headers}{body}", http.method, http.path)
    };
    steps.into_iter().map(line).collect()
}

#[test]
fn what_changes_nothing_comes_first_and_what_deletes_last() {
    let document = r#"
        openapi: 3.1.0
        servers: [{url: 'https://api.example/{v}/', variables: {v: {default: v2}}}, {url: /other}]
        paths:
          /b:
            delete: {}
            put: {}
            post: {}
            get: {}
          /a:
            patch: {}
            head: {}
            servers: [{url: '/'}]
          /c:
            get:
              servers: [{url: 'sub'}]
    "#;
    assert_eq!(
        requests(document),
        ["GET /v2/b", "HEAD /a", "GET /sub/c", "POST /v2/b", "PUT /v2/b", "PATCH /a", "DELETE /v2/b"]
    );
}

#[test]
fn parameters_have_values_that_fit() {
    let document = r##"
        openapi: 3.0.3
        paths:
          /u/{id}/{name}/{un}:
            parameters:
              - {name: id, in: path, required: true, schema: {type: integer, minimum: 7}}
              - {name: q, in: query, required: true, schema: {type: string}}
            get:
              parameters:
                - {name: name, in: path, required: true, schema: {type: string}, example: 'a/b c'}
                - {name: q, in: query, required: true, schema: {type: array, items: {enum: [x, y]}}}
                - {name: n, in: query, schema: {type: string}}
                - {name: e, in: query, examples: {first: {value: 5}}}
                - {$ref: '#/components/parameters/H'}
                - {name: c, in: cookie, required: true, schema: {type: string, default: d e}}
                - {name: Authorization, in: header, required: true, schema: {type: string}}
        components:
          parameters:
            H: {name: X-H, in: header, required: true, schema: {type: string, format: uuid}}
    "##;
    assert_eq!(
        requests(document),
        ["GET /u/7/a%2Fb%20c/1?q=x&e=5 [X-H: 00000000-0000-4000-8000-000000000001] [Cookie: c=d%20e]"]
    );
}

#[test]
fn bodies_are_made_from_their_schema() {
    let with =
        |content: &str| format!("{{openapi: 3.1.0, paths: {{/a: {{post: {{requestBody: {{content: {content}}}}}}}}}}}");
    for (content, expected) in [
        (
            "{text/plain: {}, application/json: {schema: {type: object, required: [n], properties: {n: {type: integer}, o: {type: string}}}}}",
            "POST /a [Content-Type: application/json] {\"n\":1}",
        ),
        (
            "{application/json: {example: {a: [1]}, schema: {type: string}}}",
            "POST /a [Content-Type: application/json] {\"a\":[1]}",
        ),
        (
            "{application/x-www-form-urlencoded: {schema: {required: [a b], properties: {a b: {const: 'x&y'}}}}}",
            "POST /a [Content-Type: application/x-www-form-urlencoded] a+b=x%26y",
        ),
        ("{text/csv: {example: '1,2'}}", "POST /a [Content-Type: text/csv] 1,2"),
    ] {
        assert_eq!(requests(&with(content)), [expected], "{content}");
    }
    let multipart = "{multipart/form-data: {schema: {required: [f, t], properties: {f: {type: string, format: binary}, t: {type: string}}}}}";
    let made = requests(&with(multipart)).remove(0);
    for part in ["name=\"f\"; filename=\"scrimp.txt\"\r\n", "name=\"t\"\r\n\r\nscrimp\r\n--scrimp-"] {
        assert!(made.contains(part), "{made}");
    }
}

#[test]
fn what_is_wrong_with_a_document_is_said() {
    let openapi = OpenapiStep::new(OpenapiSource::Path("/".into()));
    let like = Step::new(Action::Openapi(openapi.clone()));
    for (document, expected) in [
        ("{\"openapi\":", "it is no JSON: EOF while parsing"),
        ("a: [", "it is neither JSON nor YAML: "),
        ("<html></html>", "it is no OpenAPI document: it has no \"openapi\""),
        ("swagger: '2.0'", "it is of Swagger 2, and OpenAPI 3.0 and 3.1 are known"),
        ("openapi: 4.0.0", "it is of OpenAPI 4.0.0, and 3.0 and 3.1 are known"),
        ("openapi: 3.0.0", "it describes no paths"),
        ("{openapi: 3.0.0, paths: {/: {summary: x}}}", "it describes no operations"),
        ("{openapi: 3.0.0, paths: {'//host/x': {get: {}}}}", "\"//host/x\" is no path of a request"),
    ] {
        let error = openapi.operations(document.as_bytes(), &like).unwrap_err();
        assert!(error.starts_with(expected), "{document}: {error}");
    }
}

#[test]
fn requests_that_grow_without_end_are_refused() {
    let openapi = OpenapiStep::new(OpenapiSource::Path("/".into()));
    let like = Step::new(Action::Openapi(openapi.clone()));
    let variables: Map<String, Value> =
        (0..40).map(|n| (format!("v{n}"), json!({"default": format!("{{v{0}}}{{v{0}}}", n + 1)}))).collect();
    let servers = json!({"openapi": "3.0.0", "servers": [{"url": "/{v0}", "variables": variables}],
        "paths": {"/a": {"get": {}}}});
    let parameter = json!({"name": "a", "in": "path", "example": "x".repeat(9000)});
    let value = json!({"openapi": "3.0.0", "paths": {"/{a}{a}": {"get": {"parameters": [parameter]}}}});
    let path = "/{}".repeat(100_000);
    let path = json!({"openapi": "3.0.0", "paths": {path: {"get": {}}}});
    let body = "x".repeat(3 << 20);
    let post = json!({"post": {"requestBody": {"$ref": "#/b"}}});
    let paths: Map<String, Value> = (0..100).map(|n| (format!("/{n}"), post.clone())).collect();
    let bodies = json!({"openapi": "3.0.0", "b": {"content": {"text/plain": {"example": body}}}, "paths": paths});
    for (document, expected) in [
        (servers, "the path that begins with \"/{v"),
        (value, "\"/{a}{a}\": the value of \"a\" has more than 8192 bytes"),
        (path, "the path that begins with \"/{}/{}"),
        (bodies, "its requests have more than 64 MiB"),
    ] {
        let error = openapi.operations(document.to_string().as_bytes(), &like).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_document_that_grows_without_end_is_refused() {
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (name, before) in ('b'..='j').zip('a'..) {
        bomb += &format!("{name}: &{name} [{}]\n", vec![format!("*{before}"); 10].join(","));
    }
    assert!(read(bomb.as_bytes()).is_err());
    assert!(read("[".repeat(100_000).as_bytes()).is_err());
}

#[test]
fn operations_that_are_too_many_are_told() {
    let openapi = OpenapiStep::new(OpenapiSource::Path("/api".into()));
    let like = Step::new(Action::Openapi(openapi.clone()));
    let paths: Map<String, Value> =
        (0..MOST / 2 + 3).map(|n| (format!("/{n}"), json!({"get": {}, "delete": {}}))).collect();
    let document = json!({"openapi": "3.0.0", "paths": paths}).to_string();
    let (steps, note) = openapi.operations(document.as_bytes(), &like).unwrap();
    assert_eq!(steps.len(), MOST);
    let note = note.unwrap();
    assert!(
        note.starts_with("openapi /api: 6 of its 1006 operations are not asked for, because no more than 1000 are"),
        "{note}"
    );
}
