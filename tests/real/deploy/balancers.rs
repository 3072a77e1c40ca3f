//! The examples for load balancers.

use crate::common::directory::Directory;
use crate::deploy::support::{pem, run, said, text};

#[test]
#[ignore = "needs HAProxy"]
fn haproxy_takes_its_example() {
    let directory = Directory::new();
    let authority = directory.write("ca.pem", pem());
    let example = text("deploy/haproxy/haproxy.cfg");
    let installed = "/etc/haproxy/gatepost-ca.pem";
    assert!(example.contains(installed));
    let configuration = directory.write("haproxy.cfg", example.replace(installed, authority.to_str().unwrap()));
    let output = run("haproxy", &["-c", "-f", configuration.to_str().unwrap()]);
    let said = said(&output);
    assert!(output.status.success() && !said.contains("WARNING"), "{said}");
}

#[test]
#[ignore = "needs nginx with its stream module"]
fn nginx_takes_its_example() {
    let directory = Directory::new();
    let module = "load_module /usr/lib/nginx/modules/ngx_stream_module.so;";
    let own = format!("pid {0}/pid; error_log {0}/log; events {{}}", directory.path().display());
    let configuration = directory.write("nginx.conf", format!("{module}\n{own}\n{}", text("deploy/nginx/stream.conf")));
    let output = run("nginx", &["-t", "-q", "-c", configuration.to_str().unwrap()]);
    assert!(output.status.success() && said(&output).is_empty(), "{}", said(&output));
}

#[test]
fn both_wait_longer_than_gatepost_itself() {
    // `limits.imap_idle` is 31 minutes.
    assert!(text("deploy/haproxy/haproxy.cfg").contains("timeout client 35m\n    timeout server 35m\n"));
    assert!(text("deploy/nginx/stream.conf").contains("proxy_timeout 35m;"));
}
