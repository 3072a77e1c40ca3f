//! Secrets that stand nowhere else: random letters and digits, with characters between them that
//! encodings change.

/// Alice's at Entra.
pub(crate) const PASSWORD: &str = "kP7/vX2+qé9=Lw4?Zr8&hT5%mJ3";
/// What somebody else tries for Alice.
pub(crate) const WRONG: &str = "dF3~cY6<wN8>Gs1;Bq5+xK9/tH2";
/// Of Bob, whose password Gatepost proves.
pub(crate) const LOCAL: &str = "jR6+bM4/zV8=Tc2?Xg7&pW5ñnD9";
/// What somebody tries for Bob.
pub(crate) const LOCAL_WRONG: &str = "yL9\"aQ3\\fS7'Hv5`Ck2|eB8$uG4";
/// A password where the name is due.
pub(crate) const MISPLACED: &str = "rN5hZ8wE2mX6tK9cV3qJ7bY4gP1s";
/// Of the application, out of the environment.
pub(crate) const CLIENT_SECRET: &str = "Wd8~Q2k.Rz5_hX7-vB4~mN9pL3cT";
/// The same of other applications, out of a file, a command, a systemd credential, and the
/// configuration itself.
pub(crate) const FROM_FILE: &str = "Hs4~V9g.Jx2_bK6-tD8~qW5nZ7rY";
pub(crate) const FROM_COMMAND: &str = "Tp6~L3m.Gv8_cF5-zQ2~wX9kR4dB";
pub(crate) const FROM_SYSTEMD: &str = "Nb7~K5t.Cq9_xZ3-gM6~hV2jS8wP";
pub(crate) const LITERAL: &str = "Qy2~D8v.Bw4_rT9-kJ5~fL7xC3mG";
/// Of the forward proxy.
pub(crate) const PROXY_PASSWORD: &str = "vC9/kT4+gW=7Rz2?Nx6&bQ8@dM5";
/// The same in a variable's URL.
pub(crate) const PROXY_IN_URL: &str = "mZ3xG8vH5tB9wK2qL6nR4cJ7yD1p";
/// A device password that somebody chose.
pub(crate) const CHOSEN: &str = "fK8/rT3?mW6(zC9&vH2=pX5+qJ7";
/// Of the store, in its address.
pub(crate) const STORE_PASSWORD: &str = "tG6nW3yR9cM2kZ7vF4qB8hX5jL1d";
/// What is hashed by `gatepost password hash`.
pub(crate) const HASHED: &str = "sX5 fT8!wB3#hK7(zM2)jQ9*vL4";
/// Written where it must not be: in plain text under `passwords`, under a misspelt key, behind
/// `--set`.
pub(crate) const UNHASHED: &str = "gV7=cR2+nW9/tX4?kB6&yH8:zP3";
pub(crate) const MISSPELT: &str = "bJ4=mK9+xQ6/dZ3?wT8&rG5:vN7";
pub(crate) const ON_COMMAND_LINE: &str = "zH8wC5qT2xM9vR6kD3nB7gJ4yL1f";

/// All of them, by name.
pub(crate) const ALL: [(&str, &str); 18] = [
    ("the password", PASSWORD),
    ("the wrong password", WRONG),
    ("the local password", LOCAL),
    ("the wrong local password", LOCAL_WRONG),
    ("the misplaced password", MISPLACED),
    ("the client secret", CLIENT_SECRET),
    ("the client secret of a file", FROM_FILE),
    ("the client secret of a command", FROM_COMMAND),
    ("the client secret of systemd", FROM_SYSTEMD),
    ("the literal client secret", LITERAL),
    ("the proxy's password", PROXY_PASSWORD),
    ("the proxy's password in a URL", PROXY_IN_URL),
    ("the chosen device password", CHOSEN),
    ("the store's password", STORE_PASSWORD),
    ("the hashed password", HASHED),
    ("the password that was not hashed", UNHASHED),
    ("the secret under a misspelt key", MISSPELT),
    ("the secret on the command line", ON_COMMAND_LINE),
];
