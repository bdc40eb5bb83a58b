//! The configurations under which the proxies are compared: plain WebSocket proxying with what each documents for it,
//! one worker, no access log, limits high enough for thousands of connections, everything else at its default. Envoy
//! must not wait a second for the client to close first, or opening and closing takes it minutes.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;

use super::proxy::{EnvoyModule, TidegateRoute};
use crate::wire::Identity;

pub(super) fn nginx(directory: &Path, listen: SocketAddr, upstream: SocketAddr, identity: Option<&Identity>) -> String {
    let directory = directory.display();
    let (ssl, certificate) = identity.map_or_else(Default::default, |identity| {
        let (chain, key) = (identity.chain.display(), identity.key.display());
        let keys = format!(
            "
        ssl_certificate {chain};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.3;
        ssl_session_tickets on;"
        );
        (" ssl", keys)
    });
    format!(
        "worker_processes 1;
daemon off;
user root;
pid {directory}/nginx.pid;
worker_rlimit_nofile 20000;
events {{ worker_connections 20000; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream echo {{ server {upstream}; keepalive 64; }}
    keepalive_requests 1000000000;
    server {{
        listen {listen}{ssl};{certificate}
        location / {{
            proxy_pass http://echo;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header Host $host;
            proxy_read_timeout 300s;
            proxy_send_timeout 300s;
        }}
    }}
}}
"
    )
}

pub(super) fn haproxy(listen: SocketAddr, upstream: SocketAddr, identity: Option<&Identity>) -> String {
    let both = identity.map(|identity| identity.both.display());
    let ssl = both.map(|both| format!(" ssl crt {both} ssl-min-ver TLSv1.3")).unwrap_or_default();
    format!(
        "global
    nbthread 1
    maxconn 9900
defaults
    mode http
    timeout connect 5s
    timeout client 300s
    timeout server 300s
    timeout tunnel 300s
frontend client
    bind {listen}{ssl}
    default_backend echo
backend echo
    server echo {upstream}
"
    )
}

pub(super) fn envoy(
    listen: SocketAddr,
    upstream: SocketAddr,
    module: Option<&EnvoyModule>,
    is_multiplexed: bool,
) -> String {
    let codec = match is_multiplexed {
        false => "codec_type: HTTP1",
        true => "codec_type: HTTP2\n          http2_protocol_options: { allow_connect: true }",
    };
    let (mut wasm, mut native) = (String::new(), String::new());
    match module {
        Some(EnvoyModule::Native(module)) => {
            native = format!(
                "      - name: native
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.dynamic_modules.v3.DynamicModuleNetworkFilter
          dynamic_module_config: {{ module: {{ local: {{ filename: \"{}\" }} }} }}
          filter_name: read
",
                module.display()
            );
        }
        Some(EnvoyModule::Wasm(module)) => {
            wasm = format!(
                "          - name: wasm
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config:
                name: read
                vm_config:
                  runtime: envoy.wasm.runtime.v8
                  code: {{ local: {{ filename: \"{}\" }} }}
",
                module.display()
            );
        }
        None => {}
    }
    format!(
        "static_resources:
  listeners:
  - name: client
    address: {{ socket_address: {{ address: {}, port_value: {} }} }}
    filter_chains:
    - filters:
{native}      - name: http
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: client
          {codec}
          delayed_close_timeout: 0s
          upgrade_configs: [{{ upgrade_type: websocket }}]
          route_config:
            virtual_hosts:
            - name: any
              domains: [\"*\"]
              routes: [{{ match: {{ prefix: / }}, route: {{ cluster: echo, timeout: 0s }} }}]
          http_filters:
{wasm}          - name: router
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: echo
    type: STATIC
    connect_timeout: 5s
    circuit_breakers: {{ thresholds: [{{ max_connections: 20000, max_pending_requests: 20000, max_requests: 20000 }}] }}
    load_assignment:
      cluster_name: echo
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: {}, port_value: {} }} }} }}
",
        listen.ip(),
        listen.port(),
        upstream.ip(),
        upstream.port()
    )
}

/// One route to one endpoint. A filter with a slash in it is the path of a component; one in braces is taken as it is.
pub(super) fn tidegate(
    listen: SocketAddr,
    admin: SocketAddr,
    upstream: SocketAddr,
    route: &TidegateRoute,
    identity: Option<&Identity>,
    is_multiplexed: bool,
) -> anyhow::Result<String> {
    let http2 = if is_multiplexed { "http2 = \"prior-knowledge\"" } else { "" };
    let tls = identity.map(|Identity { chain, key, .. }| {
        format!("tls = {{ certificates = [{{ chain = {chain:?}, key = {key:?} }}] }}")
    });
    let tls = tls.unwrap_or_default();
    let mut components = String::new();
    let mut chain = Vec::new();
    for (place, filter) in route.filters.iter().enumerate() {
        if filter.starts_with('{') {
            chain.push(filter.clone());
        } else if filter.contains('/') {
            let path = Path::new(filter).canonicalize().with_context(|| filter.clone())?;
            write!(components, "\n[components.filter-{place}]\npath = {:?}\n", path.display().to_string())?;
            chain.push(format!("\"filter-{place}\""));
        } else {
            chain.push(format!("{filter:?}"));
        }
    }
    let (when, filters) = (route.when.join(", "), chain.join(", "));
    Ok(format!(
        "[admin]
listen = \"{admin}\"

[log]
access = false

[[listeners]]
listen = \"{listen}\"
{tls}
{http2}
{components}
[upstreams.echo]
balance = \"round-robin\"
endpoints = [{{ url = \"ws://{upstream}\" }}]

[[routes]]
name = \"bench\"
path_prefix = \"/\"
when = [{when}]
filters = [{filters}]
upstream = \"echo\"
http = true
"
    ))
}
