use super::*;
use gatepost_store::MemoryStore;

const NOW: UnixTime = UnixTime(1_000_000);

fn order(login: &str, name: &str) -> Order {
    let login = MailAddress::parse(login).unwrap();
    Order { login, name: name.into(), protocols: Vec::new(), from: Vec::new(), expires_at: None }
}

async fn refused(store: &MemoryStore, order: Order) -> NotIssued {
    let before = store.device_passwords().await.unwrap();
    let refused = generate(store, order, NOW).await.unwrap_err();
    assert_eq!(store.device_passwords().await.unwrap(), before);
    refused
}

#[tokio::test]
async fn the_store_gets_what_proves_the_password_and_not_the_password() {
    let store = MemoryStore::default();
    let (made, password) = generate(&store, order("a@b", "Scanner, 3rd floor"), NOW).await.unwrap();
    assert_eq!((made.id.0.len(), password.expose().len()), (8, 20));
    assert_eq!(made.verifier, Verifier::Generated(password::digest(&made.login, &password)));
    assert_eq!(store.device_passwords().await.unwrap(), std::slice::from_ref(&made));
    assert!(!format!("{made:?}").contains(password.expose()));
}

#[tokio::test]
async fn names_are_short_readable_and_of_one_password_of_a_login() {
    let store = MemoryStore::default();
    let (made, _) = generate(&store, order("a@b", "Scanner"), NOW).await.unwrap();
    let same = NotIssued::SameName { login: made.login, id: made.id };
    for (name, expected) in [
        ("", NotIssued::NoName),
        (" \u{a0}", NotIssued::NoName),
        (&"ä".repeat(101), NotIssued::LongName),
        ("a\nb", NotIssued::ControlCharacter),
        ("\u{1b}[31m", NotIssued::ControlCharacter),
        ("Scanner", same),
    ] {
        assert_eq!(refused(&store, order("a@b", name)).await, expected, "{name:?}");
    }
    generate(&store, order("a@b", &"ä".repeat(100)), NOW).await.unwrap();
    generate(&store, order("c@b", "Scanner"), NOW).await.unwrap();
}

#[tokio::test]
async fn a_login_has_sixty_four_at_most() {
    let store = MemoryStore::default();
    for n in 0..PER_LOGIN {
        generate(&store, order("a@b", &n.to_string()), NOW).await.unwrap();
    }
    assert!(matches!(refused(&store, order("a@b", "more")).await, NotIssued::TooMany(_)));
    generate(&store, order("c@b", "more"), NOW).await.unwrap();
}

#[tokio::test]
async fn what_has_expired_is_not_made() {
    let store = MemoryStore::default();
    let order = |expires_at| Order { expires_at: Some(UnixTime(expires_at)), ..order("a@b", "Guest") };
    assert_eq!(refused(&store, order(NOW.0)).await, NotIssued::Expired);
    assert_eq!(generate(&store, order(NOW.0 + 1), NOW).await.unwrap().0.expires_at, Some(UnixTime(NOW.0 + 1)));
}

#[tokio::test]
async fn a_chosen_password_is_fit_and_the_only_one_of_its_kind() {
    let store = MemoryStore::default();
    let chosen = |login: &str, name: &str, password: &str, configured: Vec<String>| {
        let (order, password, store) = (order(login, name), Password::new(password.into()), &store);
        async move { choose(store, order, &password, &configured, NOW).await }
    };
    let unfit = |why| Some(NotIssued::Unfit(why));
    assert_eq!(chosen("a@b", "1", "short", Vec::new()).await.err(), unfit(UnfitPassword::TooShort(8)));
    assert_eq!(chosen("a@b", "1", "too short", Vec::new()).await.err(), unfit(UnfitPassword::NeedsNetwork));
    let login = "scanner.3@contoso.example";
    assert_eq!(chosen(login, "1", login, Vec::new()).await.err(), unfit(UnfitPassword::UserName));
    let made = chosen("a@b", "1", "long enough for it", Vec::new()).await.unwrap();
    assert!(matches!(&made.verifier, Verifier::Chosen(phc) if password::check_phc(phc).is_ok()));
    let same = Some(NotIssued::SamePassword(made.login));
    assert_eq!(chosen("a@b", "2", "long enough for it", Vec::new()).await.err(), same);
    let configured = vec![password::hash(&Password::new("as configured".into())).unwrap()];
    assert_eq!(chosen("a@b", "2", "as configured", configured.clone()).await.err(), same);
    chosen("c@b", "1", "long enough for it", configured).await.unwrap();
}
