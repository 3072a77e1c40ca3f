//! What one login costs in the protocol machines alone: all bytes of a login through each of them,
//! no sockets, no TLS.
//!
//! `cargo bench --bench machines`. Each turn makes a machine, as each connection does.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use gatepost_core::protocol::MailProtocol;
use gatepost_proto::mail::{client_side, upstream_side};

use machines::{Server, announced, client_login, client_reads, client_settings, upstream_login, upstream_settings};

#[path = "shared/machines.rs"]
mod machines;

const PROTOCOLS: [MailProtocol; 3] = [MailProtocol::Imap, MailProtocol::Pop3, MailProtocol::Smtp];

/// The length of Microsoft's tokens, in units of 64 octets.
const MICROSOFTS_TOKEN: usize = 25;

fn client_sides(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("client side, one login");
    for protocol in PROTOCOLS {
        let (settings, upstream) = (client_settings(protocol), announced(protocol));
        group.bench_function(protocol.name(), |bencher| {
            bencher.iter_batched(
                || settings.clone(),
                |settings| {
                    let mut machine = client_side(protocol, settings);
                    client_login(machine.as_mut(), client_reads(protocol), &upstream);
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// The figures hold the stand-in server's part as well: some string formatting.
fn upstream_sides(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("upstream side, one login");
    let settings = upstream_settings(MICROSOFTS_TOKEN);
    for protocol in PROTOCOLS {
        group.bench_function(protocol.name(), |bencher| {
            bencher.iter_batched(
                || (settings.clone(), Server::new(protocol)),
                |(settings, server)| {
                    let mut machine = upstream_side(protocol, settings);
                    upstream_login(machine.as_mut(), server);
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, client_sides, upstream_sides);
criterion_main!(benches);
