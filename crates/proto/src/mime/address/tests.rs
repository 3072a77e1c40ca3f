use super::*;

fn list(value: &str) -> Result<AddressList, AddressError> {
    AddressList::parse(value.as_bytes())
}

fn texts(value: &str) -> Vec<String> {
    list(value).unwrap_or_else(|why| panic!("{value:?}: {why}")).addresses.iter().map(Address::to_string).collect()
}

#[test]
fn lists_are_read_as_rfc_5322_writes_them() {
    for (value, addresses) in [
        ("", &[][..]),
        (" \r\n ", &[]),
        ("a@x", &["a@x"]),
        ("a@x, b@y", &["a@x", "b@y"]),
        ("A <a@x>, \"B, C\" <b@y>", &["a@x", "b@y"]),
        ("John Q. Public <john.q.public@example.com>", &["john.q.public@example.com"]),
        ("a@x (Anna), (Bert) b@y", &["a@x", "b@y"]),
        ("Pete(A nice \\) chap) < pete@silly.test(his host)>", &["pete@silly.test"]),
        ("(nested (comments (are) legal)) a@x", &["a@x"]),
        ("undisclosed-recipients:;", &[]),
        (
            "A Group(Some people)\r\n :Chris Jones <c@public.example>,\r\n  joe@example.org;",
            &["c@public.example", "joe@example.org"],
        ),
        ("one: a@x;, two: b@y;", &["a@x", "b@y"]),
        ("a@x, g: b@y;, c@z", &["a@x", "b@y", "c@z"]),
        (" , a@x,, b@y ,", &["a@x", "b@y"]),
        ("<@one,@two.example:a@x>", &["a@x"]),
        ("\"john doe\"@x", &["\"john doe\"@x"]),
        ("\"john.doe\"@x", &["john.doe@x"]),
        ("\"a\\\"b\"@x", &["\"a\\\"b\"@x"]),
        ("\"a@b\"@x", &["\"a@b\"@x"]),
        ("a@[192.0.2.1], b@[IPv6:2001:db8::1]", &["a@[192.0.2.1]", "b@[IPv6:2001:db8::1]"]),
        ("=?utf-8?Q?J=C3=B6rg?= <a@x>", &["a@x"]),
        ("Jörg <jörg@bücher.example>", &["jörg@bücher.example"]),
        ("a@x, A@X", &["a@x"]),
    ] {
        assert_eq!(texts(value), addresses, "{value:?}");
    }
}

#[test]
fn display_names_may_be_in_any_8_bit_charset() {
    let list = AddressList::parse(b"J\xF6rg M\xFCller <a@x>").unwrap();
    assert_eq!(list.addresses, [Address::parse("a@x").unwrap()]);
    assert_eq!(AddressList::parse(b"j\xF6rg@x"), Err(AddressError::Encoding));
}

#[test]
fn forms_that_are_only_common_are_read_and_marked() {
    for (value, addresses) in [
        ("a@x; b@y;", &["a@x", "b@y"][..]),
        ("A <a@x>; B <b@y>", &["a@x", "b@y"]),
        ("undisclosed-recipients:", &[]),
        ("g: a@x", &["a@x"]),
        ("a@x <A@x>", &["A@x"]),
        ("'a@x' <a@x>", &["a@x"]),
        ("[External] A <a@x>", &["a@x"]),
        ("john..doe@x", &["\"john..doe\"@x"]),
    ] {
        assert_eq!(
            (texts(value), list(value).unwrap().plain),
            (addresses.iter().map(ToString::to_string).collect(), false)
        );
    }
    assert!(list("\"A; B\" <a@x>, C (;) <c@y>, g: d@z;").unwrap().plain);
}

#[test]
fn names_without_a_domain_are_of_the_host_that_is_given() {
    let of_host = |value: &str| {
        let list = AddressList::parse_on(value.as_bytes(), "host")?;
        Ok::<_, AddressError>(list.addresses.iter().map(Address::to_string).collect::<Vec<_>>())
    };
    for (value, addresses) in [
        ("root", &["root@host"][..]),
        ("root, \"Doe, John\" <j@x>", &["root@host", "j@x"]),
        ("<root>, Root <a.b>, c (Cron)", &["root@host", "a.b@host", "c@host"]),
        ("Ops: root, a@x;", &["root@host", "a@x"]),
    ] {
        assert_eq!(of_host(value).unwrap(), addresses, "{value:?}");
    }
    // Half a name that was cut at its comma, or one that is no user's.
    for value in ["a b", "\"a\"", "\"a@x\"", "a@", "<>", "jörg", "=?utf-8?Q?a,?= <a@x>", "a@x <root>"] {
        assert!(of_host(value).is_err(), "{value:?}");
    }
}

#[test]
fn what_could_be_understood_in_two_ways_is_refused() {
    use AddressError as Why;
    for (value, why) in [
        ("root", Why::NotAnAddress),
        ("\"a@x\"", Why::NotAnAddress),
        ("<>", Why::NotAnAddress),
        ("A <>", Why::NotAnAddress),
        ("a@", Why::NotAnAddress),
        ("@x", Why::NotAnAddress),
        ("a@x@y", Why::NotAnAddress),
        ("a@x.", Why::NotAnAddress),
        ("a@.x", Why::NotAnAddress),
        ("john . doe @ x", Why::Apart),
        ("pete(his account)@silly.test", Why::Apart),
        ("a b@x", Why::NotAnAddress),
        ("a@x b@y", Why::NotAnAddress),
        ("a@x <b@y>", Why::TwoAddresses),
        ("a@x, b@y <c@z>", Why::TwoAddresses),
        ("<a@x> b@y", Why::Character),
        ("<a@x> <b@y>", Why::Character),
        ("<a@x", Why::Unbalanced),
        ("<a@x, b@y>", Why::Unbalanced),
        ("a@x>", Why::Character),
        ("\"a <a@x>", Why::Unbalanced),
        ("(a a@x", Why::Unbalanced),
        ("a) a@x", Why::Character),
        ("a\\b@x", Why::Character),
        ("g: h: a@x;;", Why::Character),
        (": a@x;", Why::Character),
        ("g: a@x; b@y", Why::Character),
        ("a\u{1}@x", Why::Character),
        ("\"a\0\"@x", Why::Character),
        ("mailto:a@x, b@y <c@z>", Why::TwoAddresses),
        ("=?utf-8?Q?M=C3=BCller,_Anna?= <a@x>", Why::NotAnAddress),
        ("=?utf-8?Q?b@y,?= <a@x>", Why::NotAnAddress),
        ("a@b\u{ad}\u{ad}.\u{200b}\u{ff0e}x\u{ff0e}", Why::Encoding),
    ] {
        assert_eq!(list(value), Err(why), "{value:?}");
    }
}

#[test]
fn case_quotes_and_the_form_of_a_domain_do_not_tell_people_apart() {
    let same = |one: &str, other: &str| Address::parse(one).unwrap() == Address::parse(other).unwrap();
    assert!(same("Anna@Contoso.COM", "anna@contoso.com"));
    assert!(same("\"anna\"@x", "anna@x"));
    assert!(same("a@Bücher.example", "a@xn--bcher-kva.example"));
    assert!(!same("a@x", "b@x"));
    assert!(!same("a@x", "a@x.y"));
}

#[test]
fn an_address_alone_is_one_address() {
    for text in ["", "a", "a@x, b@x", "<a@x>", "A <a@x>", "a@x\r\nBcc: b@x", &format!("{}@x", "a".repeat(500))] {
        assert!(Address::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn each_address_has_its_display_name() {
    let value = " \"A\" B (c) <a@x>, D <d@x>";
    assert_eq!(&value[list(value).unwrap().names[0].clone().unwrap()], "\"A\" B");
    assert_eq!(list("a@x, D <d@x>").unwrap().names, [None, Some(5..6)]);
}
