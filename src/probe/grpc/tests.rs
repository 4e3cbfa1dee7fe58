//! Names of calls, bodies taken apart, and what a peer of a few lines answers.

use super::*;

#[test]
fn calls_are_named() {
    for (text, call) in [
        ("health", GrpcCall::Health),
        ("reflection", GrpcCall::Reflection),
        ("/a.b.C/D", GrpcCall::Method("/a.b.C/D".into())),
    ] {
        assert_eq!(text.parse::<GrpcCall>().unwrap(), call);
        assert_eq!(call.to_string(), text);
    }
    for bad in ["", "check", "/a", "/a/", "/a/b/c", "a/b", "/a b/c"] {
        assert!(bad.parse::<GrpcCall>().unwrap_err().contains("is no call: expected"), "{bad}");
    }
}

#[test]
fn bodies_are_taken_apart() {
    assert_eq!(messages(b"").unwrap(), Vec::<Vec<u8>>::new());
    assert_eq!(messages(b"\0\0\0\0\x02\x08\x01\0\0\0\0\0").unwrap(), [b"\x08\x01".to_vec(), vec![]]);
    for (body, message) in [
        (&b"\0\0\0\0\x02\x08"[..], "cut off"),
        (b"\0\0", "cut off"),
        (b"\0\xff\xff\xff\xff", "cut off"),
        (b"\x01\0\0\0\0", "compressed"),
    ] {
        assert!(messages(body).unwrap_err().to_string().contains(message), "{body:?}");
    }
}

#[test]
fn fields_and_statuses() {
    assert_eq!(field(1, b"ab"), b"\x0a\x02ab");
    assert_eq!(field(1, &[b'x'; 200])[..3], [0x0a, 0xc8, 0x01]);
    assert_eq!(field(1, b""), b"");
    let mut headers = HeaderMap::new();
    assert_eq!(status(&headers), None);
    headers.insert("grpc-status", HeaderValue::from_static("5"));
    headers.insert("grpc-message", HeaderValue::from_static("no%20such%2"));
    assert_eq!(status(&headers), Some((5, "no such%2".into())));
    assert_eq!(status_text(12), "12 UNIMPLEMENTED");
}

const LOCAL: [IpAddr; 1] = [IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)];

/// A server that answers each call with the status, if any, and the message that `answer` has for its path.
fn server(answer: fn(&str) -> (Option<&'static str>, &'static [u8])) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            stream.set_nonblocking(true).unwrap();
            runtime.block_on(async {
                let stream = tokio::net::TcpStream::from_std(stream).unwrap();
                let mut connection = h2::server::handshake(stream).await.unwrap();
                // The peer may hang up as soon as it has its answer.
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let (status, message) = answer(request.uri().path());
                    let mut body = respond.send_response(http::Response::new(()), false).unwrap();
                    let framed = [&[0, 0, 0, 0, message.len() as u8], message].concat();
                    body.send_data(Bytes::from(framed), status.is_none()).unwrap();
                    if let Some(status) = status {
                        let mut trailers = HeaderMap::new();
                        trailers.insert("grpc-status", HeaderValue::from_static(status));
                        trailers.insert("grpc-message", HeaderValue::from_static("it%27s so"));
                        body.send_trailers(trailers).unwrap();
                    }
                }
            });
        }
    });
    port
}

fn run(port: u16, call: &str) -> Outcome {
    let step = GrpcStep {
        port: Some(port),
        call: call.parse().unwrap(),
        service: String::new(),
        message: Secret::default(),
        host: None,
        headers: vec![],
        expect: GrpcExpect::default(),
    };
    probe(&step, &LOCAL, Duration::from_secs(10), &Redactor::default())
}

#[test]
fn failures_say_what_was_expected_and_what_came() {
    let port = server(|path| match path {
        "/grpc.health.v1.Health/Check" => (Some("0"), &[8, 2]),
        "/a.B/None" => (None, &[]),
        "/a.B/Late" => (Some("14"), &[]),
        _ => (Some("12"), &[]),
    });
    for (call, expected, not_yet) in [
        ("health", "expected the health SERVING, got NOT_SERVING", true),
        (
            "reflection",
            "expected gRPC status 0 OK, got 12 UNIMPLEMENTED: \"it's so\"; it has no service for reflection",
            false,
        ),
        ("/a.B/C", "expected gRPC status 0 OK, got 12 UNIMPLEMENTED: \"it's so\"", false),
        ("/a.B/Late", "expected gRPC status 0 OK, got 14 UNAVAILABLE: \"it's so\"", true),
    ] {
        let outcome = run(port, call);
        assert_eq!((outcome.failure.as_deref(), outcome.not_yet), (Some(expected), not_yet));
    }
    let failure = run(port, "/a.B/None").failure.unwrap();
    assert!(failure.starts_with("the answer has no grpc-status"), "{failure}");
}

#[test]
fn reflection_of_the_older_version_is_asked_for() {
    let port = server(|path| match path.contains(".v1alpha.") {
        true => (Some("0"), b"services"),
        false => (Some("12"), &[]),
    });
    let outcome = run(port, "reflection");
    assert_eq!((outcome.failure, outcome.parts), (None, vec![("messages", b"services".to_vec())]));
}

#[test]
fn who_speaks_no_grpc_is_told() {
    use std::io::Write;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let handle = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").unwrap();
        stream
    });
    let failure = run(port, "health").failure.unwrap();
    assert!(failure.contains("no gRPC answer") || failure.contains("on port"), "{failure}");
    drop(handle.join().unwrap());
    let outcome = run(port, "health");
    assert!(outcome.not_yet && outcome.failure.unwrap().starts_with("connection refused on 127.0.0.1:"));
}
