//! Reloads that take too long are given up, and say where they are until then.

use tidegate_tests::config::route;
use tidegate_tests::{Proxy, Request, refused_address, within};

const REJECTED: &[(&str, &str)] = &[("outcome", "rejected")];

/// A component that takes minutes to compile: a value for each variable in each of many loops, one within the other.
fn slow_component() -> Vec<u8> {
    const MANY: usize = 500;
    let number = |number: usize| {
        let (low, high) = (u8::try_from(number % 128).unwrap(), u8::try_from(number / 128).unwrap());
        if high == 0 { vec![low] } else { vec![low | 0x80, high] }
    };
    let counted = |bytes: Vec<u8>| [number(bytes.len()), bytes].concat();
    let section = |id: u8, bytes: Vec<u8>| [vec![id], counted(bytes)].concat();
    // local.get variable, local.get 0, i32.add, local.set variable
    let add = |variable| [vec![0x20], number(variable), vec![0x20, 0, 0x6a, 0x21], number(variable)].concat();
    let code = [
        [vec![1], number(MANY), vec![0x7f]].concat(),
        [0x03, 0x40].repeat(MANY),
        (1..=MANY).flat_map(add).collect(),
        // local.get 0, br_if 0, end
        [0x20, 0, 0x0d, 0, 0x0b].repeat(MANY),
        vec![0x0b],
    ];
    let (types, functions) = (section(1, vec![1, 0x60, 1, 0x7f, 0]), section(3, vec![1, 0]));
    let module =
        [b"\0asm\x01\0\0\0".to_vec(), types, functions, section(10, [vec![1], counted(code.concat())].concat())];
    let name = b"tidegate:edge/filtering@0.2.0".to_vec();
    // An instance without anything is exported by that name.
    let (instance, export) =
        (section(5, vec![1, 1, 0]), section(11, [vec![1, 0], counted(name), vec![5, 0, 0]].concat()));
    [b"\0asm\x0d\0\x01\0".to_vec(), section(1, module.concat()), instance, export].concat()
}

/// A route, and where `slow`, a component that is not in force before.
fn config(slow: bool, rest: &str) -> String {
    let main = route(&[&refused_address()], rest);
    let component = "filters = [\"slow\"]\n[components.slow]\npath = \"slow.wasm\"\n";
    let another = format!("[[routes]]\nname = \"slow\"\npath = \"/slow\"\nupstream = \"back\"\n{component}");
    format!("watch = false\nreload_timeout = \"1s\"\n{main}\n{}", if slow { another } else { String::new() })
}

async fn bed() -> Proxy {
    let proxy = Proxy::start(&config(false, "")).await;
    proxy.place("slow.wasm", slow_component());
    proxy
}

#[tokio::test]
async fn a_reload_beyond_its_deadline_is_given_up_and_says_where_it_was_and_later_ones_work() {
    let proxy = bed().await;
    proxy.rewrite(&config(true, ""));
    let reply = proxy.reload().await;
    assert_eq!(reply.status, 422, "{reply:?}");
    assert!(reply.body.contains("given up after 1s: it was still compiling component `slow`"), "{reply:?}");
    proxy.wait_for_log(&["configuration rejected", "still compiling component `slow`"]).await;
    assert_eq!(proxy.metrics().await.count("tidegate_reloads_total", REJECTED), 1);
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 502);

    proxy.rewrite(&config(false, "max_connections = 7"));
    let reply = proxy.reload().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let status = proxy.admin("GET", "/api/v1/reload").await;
    assert!(status.body.contains("\"generation\": 2") && status.body.contains("\"given_up\""), "{status:?}");
    let ready = proxy.admin("GET", "/readyz").await;
    assert!(ready.status == 200 && ready.body.contains("compiling component `slow`"), "{ready:?}");
}

#[tokio::test]
async fn reloads_that_were_given_up_and_do_not_end_are_few() {
    let proxy = bed().await;
    for attempt in 1..=5 {
        proxy.rewrite(&config(true, &format!("max_connections = {attempt}")));
        let reply = proxy.reload().await;
        assert_eq!(reply.status, 422, "{reply:?}");
        let is_refused = reply.body.contains("4 reloads that were given up have not ended");
        assert_eq!(is_refused, attempt == 5, "{reply:?}");
    }
}

#[tokio::test]
async fn while_a_reload_is_under_way_everybody_is_told_where_it_is() {
    let proxy = bed().await;
    proxy.rewrite(&config(true, "").replace("\"1s\"", "\"5m\""));
    let told = async {
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            ticks.tick().await;
            let status = proxy.admin("GET", "/api/v1/reload").await;
            assert_eq!(status.status, 200, "{status:?}");
            let ready = proxy.admin("GET", "/readyz").await;
            let says = |body: &str| body.contains("compiling component `slow`") && body.contains("POST /api/v1/reload");
            if says(&status.body) && says(&ready.body) {
                return;
            }
        }
    };
    let one_too_many = async {
        within("a reload under way", told).await;
        futures_util::future::select_all((0..20).map(|_| Box::pin(proxy.reload()))).await.0
    };
    let first = tokio::select! {
        ended = proxy.reload() => ended,
        first = one_too_many => first,
    };
    assert_eq!(first.status, 409, "{first:?}");
    assert!(first.body.contains("\"busy\"") && first.body.contains("compiling component `slow`"), "{first:?}");
}
