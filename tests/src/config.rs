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

/// The entry of a component of this suite.
pub fn guest(name: &str) -> String {
    format!("[components.{name}]\npath = {:?}\n", crate::guests::path(name))
}
