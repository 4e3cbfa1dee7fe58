//! Waiting for the application, and what is said of one that does not get ready.

use std::io::{Read, Write};
use std::time::Duration;

use super::{given, run_plan, server, spec, summary, web};
use crate::base::ImagePath;
use crate::probe::fake::{self, FakeTarget, output};
use crate::probe::{Circumstances, Exit, HealthcheckCommand, Plan, Port, Spec};

#[test]
fn listeners_are_waited_for() {
    let address = web(&["200 OK"]);
    let target = FakeTarget::default();
    target.later.lock().unwrap().push(fake::tcp(address));
    assert_eq!(summary(&run_plan(&given(vec![]), &target)), "http GET /: ok\n");
}

#[test]
fn a_port_that_was_named_has_to_listen_whatever_the_steps_go_to() {
    let address = web(&["200 OK"]);
    let port = address.port();
    let exec = || Spec::from_exec_argument("true").unwrap();
    let http = || spec(&format!("[[step]]\nkind = 'http'\nport = {port}"));
    let run = |named: u16, is_port_shared: bool, probe: Spec| {
        let target = FakeTarget { rests: true, ..FakeTarget::listening(&[address]) };
        let target = target.with_command("true", vec![output(0, "", "")]);
        let circumstances = Circumstances { port: Some(Port::tcp(named)), is_port_shared, ..Circumstances::default() };
        let plan = Plan { patience: Duration::from_millis(50), ..Plan::new(vec![probe], circumstances) };
        summary(&run_plan(&plan, &target))
    };
    for probe in [&exec as &dyn Fn() -> Spec, &http] {
        let silent = run(1, false, probe());
        assert!(silent.starts_with("ready: the application does not listen on tcp port 1 after 0.05 s"), "{silent}");
        assert!(run(port, false, probe()).ends_with(": ok\n"));
        assert!(run(1, true, probe()).ends_with(": ok\n"), "a worker beside the one that listens there");
    }
}

#[test]
fn an_exposed_port_is_given_a_moment() {
    let (metrics, web) = (web(&["200 OK"]), web(&["200 OK"]));
    let target = FakeTarget::listening(&[metrics]);
    target.later.lock().unwrap().push(fake::tcp(web));
    let circumstances = Circumstances { exposed: vec![Port::tcp(web.port())], ..Circumstances::default() };
    let done = run_plan(&Plan::new(vec![Spec::from_http_argument("/").unwrap()], circumstances), &target);
    assert_eq!(done.plan.steps[0].port(), Some(Port::tcp(web.port())));
}

#[test]
fn the_port_that_speaks_http_may_come_after_others() {
    let (helper, queue, web) = (server(drop), server(drop), web(&["200 OK"]));
    let target = FakeTarget::listening(&[helper, queue]);
    target.later.lock().unwrap().push(fake::tcp(web));
    let exposed = vec![Port::tcp(queue.port()), Port::tcp(web.port())];
    let circumstances = Circumstances { exposed, ..Circumstances::default() };
    let plan = Plan::new(vec![Spec::from_http_argument("/").unwrap()], circumstances);
    let done = run_plan(&plan, &target);
    assert_eq!(done.plan.steps[0].port(), Some(Port::tcp(web.port())), "{}", summary(&done));
    // Of an application that rests nothing more is to come.
    let target = FakeTarget { rests: true, ..FakeTarget::listening(&[helper, queue]) };
    let done = run_plan(&plan, &target);
    assert_eq!(done.plan.steps[0].port(), Some(Port::tcp(queue.port())));
}

#[test]
fn a_gateway_whose_backend_is_not_up_is_asked_again() {
    let target = FakeTarget::listening(&[web(&["502 Bad Gateway", "503 Service Unavailable", "200 OK"])]);
    let done = run_plan(&given(vec![Spec::from_http_argument("/").unwrap()]), &target);
    assert_eq!(summary(&done), "http GET /: ok\n");

    let target = FakeTarget::listening(&[web(&["502 Bad Gateway"])]);
    let plan = Plan { patience: Duration::from_millis(50), ..given(vec![Spec::from_http_argument("/").unwrap()]) };
    let failure = summary(&run_plan(&plan, &target));
    assert!(failure.starts_with("http GET /: expected status below 500, got 502 Bad Gateway"), "{failure}");
}

#[test]
fn readiness_is_asked_for_until_it_passes() {
    let address = web(&["500 Internal Server Error", "404 Not Found", "200 OK"]);
    let target = FakeTarget::listening(&[address]);
    let text = "[ready]\nstep = { kind = 'http', path = '/up', expect = { status = 200 } }\n[[step]]\nkind = 'tcp'";
    let done = run_plan(&given(vec![spec(text)]), &target);
    assert_eq!(summary(&done), format!("tcp {}: ok\n", address.port()));
    assert_eq!(target.log().iter().filter(|line| *line == "begin ready http GET /up").count(), 3);

    let text = text.replace("[ready]", "[ready]\ntimeout_seconds = 0.05").replace("200", "201");
    assert_eq!(
        summary(&run_plan(&given(vec![spec(&text)]), &target)),
        "ready: not ready after 0.05 s: http GET /up: expected status 201, got 200 OK; the body begins \"ok\"\n"
    );
}

#[test]
fn healthcheck_holds_probes_up_but_not_for_ever() {
    let healthcheck = HealthcheckCommand { argv: vec!["healthy".into()], timeout: Duration::from_secs(5) };
    let circumstances = Circumstances { healthcheck: Some(healthcheck), ..Circumstances::default() };
    let probes = vec![Spec::from_http_argument("/").unwrap()];
    let target = FakeTarget::listening(&[web(&["200 OK"])])
        .with_command("healthy", vec![output(1, "", "starting"), Err("timeout".into()), output(0, "", "")]);
    let done = run_plan(&Plan::new(probes.clone(), circumstances.clone()), &target);
    assert_eq!((summary(&done).as_str(), done.notes.len()), ("http GET /: ok\nexec healthy: ok\n", 0));
    assert_eq!(done.transcript.probes[1].ignore, ["stderr", "stdout"]);

    let target = target.with_command("healthy", vec![output(1, "", "no database")]);
    let plan = Plan { patience: Duration::from_millis(50), ..Plan::new(probes, circumstances) };
    let done = run_plan(&plan, &target);
    assert_eq!(summary(&done), "http GET /: ok\n");
    let again = run_plan(&done.plan, &target);
    assert_eq!((summary(&again).as_str(), again.notes.len()), ("http GET /: ok\n", 0), "nor is it asked for again");
    assert_eq!(done.notes, ["HEALTHCHECK did not pass within 0.05 s: expected exit code 0, got 1: \"no database\""]);
}

#[test]
fn an_application_that_never_listens_is_reported() {
    let probes = vec![Spec::from_http_argument("/").unwrap()];
    let target = FakeTarget::default();
    let plan = |probes| Plan { patience: Duration::from_millis(20), ..given(probes) };
    let mut one_of_several = plan(probes.clone());
    one_of_several.circumstances.is_port_shared = true;
    let said = summary(&run_plan(&one_of_several, &target));
    assert!(
        said.contains("hint: probes that are typed are for all runs: give this one its own in scrimp.toml"),
        "{said}"
    );
    let done = run_plan(&plan(probes), &target);
    assert_eq!(
        summary(&done),
        "ready: the application does not listen on any tcp port after 0.02 s\nhint: give it longer (--timeout), or do without a port (--exec or \
                --no-probe, and no --port)\n"
    );
    let done = run_plan(&plan(vec![]), &target);
    assert_eq!((summary(&done).as_str(), done.ended), ("", None));
    assert!(done.notes[0].starts_with("the application does not listen on any tcp port after 0.02 s\nhint: "));
    let target = target.with_command("true", vec![output(0, "", "")]);
    let done = run_plan(&plan(vec![Spec::from_exec_argument("true").unwrap()]), &target);
    assert_eq!(summary(&done), "exec true: ok\n", "a command needs no listener");
}

#[test]
fn commands_wait_for_rest_where_nothing_listens() {
    let command = || given(vec![Spec::from_exec_argument("true").unwrap()]);
    let target = FakeTarget { rests: true, ..FakeTarget::default() }.with_command("true", vec![output(0, "", "")]);
    let done = run_plan(&command(), &target);
    assert_eq!((summary(&done).as_str(), done.notes.len(), done.plan.served), ("exec true: ok\n", 0, Some(false)));
    assert_eq!(summary(&run_plan(&done.plan, &target)), "exec true: ok\n");

    // It rested before it listened, and the command needs that.
    let later = vec![fake::tcp("127.0.0.1:1".parse().unwrap())];
    let target = FakeTarget { rests: true, later: later.into(), ..FakeTarget::default() }
        .with_command("true", vec![output(1, "", "refused"), output(0, "", "")]);
    let done = run_plan(&command(), &target);
    assert_eq!((summary(&done).as_str(), done.plan.served), ("exec true: ok\n", Some(true)));
    // An application that is known to serve is waited for.
    let silent = FakeTarget { rests: true, ..FakeTarget::default() }.with_command("true", vec![output(0, "", "")]);
    let plan = Plan { patience: Duration::from_millis(20), ..done.plan };
    let note = "the application neither listened nor came to rest within 0.02 s; the probes were run all the same";
    assert_eq!(run_plan(&plan, &silent).notes, [note]);
}

#[test]
fn given_probes_wait_as_the_shipped_spec_does() {
    let redis = |answers: &'static [&'static str]| {
        let mut connections = 0;
        server(move |mut stream| {
            let mut request = [0; 6];
            if stream.read_exact(&mut request).is_ok() {
                let answer = answers[connections.min(answers.len() - 1)];
                connections += 1;
                stream.write_all(answer.as_bytes()).unwrap();
            }
        })
    };
    let executables = || vec![ImagePath::parse("/usr/bin/redis-server").unwrap()];
    let probe = || given(vec![spec("[[step]]\nkind = 'tcp'\nsend = 'PING\\r\\n'\nexpect = { contains = '+PONG' }")]);
    let listening = |address| FakeTarget { executables: executables(), ..FakeTarget::listening(&[address]) };
    let address = redis(&["-LOADING\r\n", "-LOADING\r\n", "+PONG\r\n"]);
    let done = run_plan(&probe(), &listening(address));
    assert_eq!((summary(&done), done.notes.len()), (format!("tcp {}: ok\n", address.port()), 0));

    // Nobody has asked for it, so it is no failure.
    let address = redis(&["-LOADING\r\n"]);
    let done = run_plan(&Plan { patience: Duration::from_millis(50), ..probe() }, &listening(address));
    assert!(done.notes[0].starts_with("not ready after 0.05 s: tcp "), "{:?}", done.notes);
    assert_eq!(done.transcript.probes[0].name, format!("tcp {}", address.port()));
}

#[test]
fn a_dead_application_is_reported_at_once() {
    let target = FakeTarget { exit: Exit::Code(3).into(), ..FakeTarget::default() };
    let done = run_plan(&given(vec![]), &target);
    assert_eq!((done.transcript.probes.len(), done.ended), (0, Some(Exit::Code(3))));
    let done = run_plan(&given(vec![Spec::from_http_argument("/").unwrap()]), &target);
    assert_eq!(summary(&done), "ready: the application ended with exit code 3 before it was ready\n");

    // It listened, and nothing is known that could have been asked before it ended.
    let target = FakeTarget { exit: Exit::Code(4).into(), ..FakeTarget::default() };
    let text = crate::probe::discover::without_probe(&target);
    assert!(
        text.starts_with("the application listened, and ended with exit code 4 before it could be asked\n"),
        "{text}"
    );

    // One that has done its work is no service.
    let target = FakeTarget { exit: Exit::Code(0).into(), ..FakeTarget::default() };
    let done = run_plan(&given(vec![Spec::from_http_argument("/").unwrap()]), &target);
    assert!(summary(&done).contains("\nhint: a command that ends is its own probe"), "{}", summary(&done));

    let target = FakeTarget::listening(&["127.0.0.1:1".parse().unwrap()]);
    *target.exit.lock().unwrap() = Some(Exit::Signal(11));
    let done = run_plan(&given(vec![Spec::from_http_argument("/").unwrap()]), &target);
    assert_eq!(summary(&done), "http GET /: the application has ended with signal 11\n");
}

#[test]
fn a_dead_application_is_asked_once_more_and_no_further() {
    let target = FakeTarget::listening(&["127.0.0.1:1".parse().unwrap()]).with_command("x", vec![output(0, "", "")]);
    *target.exit.lock().unwrap() = Some(Exit::Code(3));
    let document = "{openapi: 3.0.0, paths: {/a: {get: {}}, /b: {get: {}}}}";
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("api.yaml"), document).unwrap();
    let api = Spec::from_openapi_argument(dir.path().join("api.yaml").to_str().unwrap()).unwrap();
    let http = spec("[[step]]\nkind = 'http'\nport = 1\nrepeat = 3");
    let specs = vec![http, Spec::from_exec_argument("x").unwrap(), Spec::from_crawl_arguments(1, 5), api];
    let done = run_plan(&given(specs), &target);
    assert_eq!(summary(&done), "http GET /: the application has ended with exit code 3\n");
    assert_eq!(done.notes, ["5 more probes were not asked: the application has ended with exit code 3"]);
    assert_eq!(target.log(), ["enter"]);
}
