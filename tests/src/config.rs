//! Configuration text that many tests share.

/// Back ends of one upstream, by address, and one route named `main` to them, which `rest` goes on describing; it may
/// open further tables.
pub fn route(addresses: &[&str], rest: &str) -> String {
    format!("{}\n[[routes]]\nname = \"main\"\nupstream = \"back\"\n{rest}\n", upstream("back", addresses, ""))
}

/// An upstream with these endpoints; `rest` holds more of its keys.
pub fn upstream(name: &str, addresses: &[&str], rest: &str) -> String {
    let endpoints: Vec<String> = addresses.iter().map(|address| format!("{{ url = \"ws://{address}\" }}")).collect();
    format!("[upstreams.{name}]\nendpoints = [{}]\n{rest}\n", endpoints.join(", "))
}

/// The entry of a component of this suite, with a deadline that only a component which never returns misses, however
/// busy the machine is.
pub fn guest(name: &str) -> String {
    guest_within(name, "1s")
}

/// The entry of a component of this suite with a deadline of its own.
pub fn guest_within(name: &str, deadline: &str) -> String {
    format!("[components.{name}]\npath = {:?}\ndeadline = \"{deadline}\"\n", crate::guests::path(name))
}
