use super::*;

#[test]
fn a_host_is_shown_without_its_port() {
    for (authority, host) in [
        ("a.example:443", "a.example"),
        ("a.example", "a.example"),
        ("[::1]:443", "[::1]"),
        ("[::1]", "[::1]"),
        ("::1", "::1"),
    ] {
        assert_eq!(without_port(authority), host);
    }
}

#[test]
fn the_memory_of_a_head_is_that_of_its_texts_and_of_its_fields() {
    let request = |uri: &str| Request::get(uri).header("ab", "cde").header("f", "");
    let size = |uri| size_of_head(&request(uri).body(()).unwrap().into_parts().0);
    assert_eq!(size("/x?y"), 5 + 1 + 2 * FIELD_OCTETS + 4);
    assert_eq!(size("https://host/x"), 5 + 1 + 2 * FIELD_OCTETS + 2 + 4);
}

#[test]
fn who_may_not_try_again_is_told_when_and_sent_away() {
    let wait = Some(Duration::from_secs(9));
    for (wait, cause) in [(None, Cause::TooManyAttempts), (wait, Cause::Penalised)] {
        let refused = too_many_attempts(wait);
        assert_eq!((refused.status.as_u16(), refused.close, refused.wait), (429, true, wait));
        assert_eq!(refused.unlogged.unwrap().cause, cause);
    }
}
