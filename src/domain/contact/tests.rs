use super::*;

#[track_caller]
fn refuses(check: fn(&str, &str) -> Result<(), Invalid>, values: &[(&str, &str)]) {
    for (value, because) in values {
        let Err(error) = check("contact", value) else { panic!("{value:?} was accepted") };
        assert_eq!(error.field, "contact");
        assert!(error.problem.contains(because), "{value:?}: {error}");
    }
}

#[test]
fn bare_addresses_are_accepted() {
    let long = format!("{}@{}.example", "u".repeat(64), "d".repeat(63));
    for address in ["ops@example.com", "a.b+c@sub.example.co.uk", "root@mailhost", "jürgen@bücher.example", &long] {
        check_email("email", address).unwrap();
    }
}

#[test]
fn anything_but_one_bare_address_is_refused() {
    let long = format!("ops@{}com", "sub.".repeat(63));
    refuses(
        check_email,
        &[
            ("", "no '@'"),
            ("ops", "no '@'"),
            ("@example.com", "before the '@'"),
            ("a@b@example.com", "before the '@'"),
            (".ops@example.com", "before the '@'"),
            ("ops@", "after the '@'"),
            ("ops@example..com", "after the '@'"),
            ("ops@-example.com", "after the '@'"),
            ("ops@[127.0.0.1]", "after the '@'"),
            ("ops@127.0.0.1", "after the '@'"),
            ("ops@example.com,dev@example.com", "before the '@'"),
            ("Ops <ops@example.com>", "spaces"),
            ("<ops@example.com>", "before the '@'"),
            ("ops@example.com\r\nBcc: all@example.com", "control"),
            ("\"a b\"@example.com", "spaces"),
            (&long, "259 bytes"),
        ],
    );
}

#[test]
fn urls_that_can_be_posted_to_are_accepted() {
    for url in [
        "http://127.0.0.1:8080",
        "https://example.com/hook?team=a%20b&at=x@y",
        "https://[::1]:8443/",
        "HTTPS://xn--bcher-kva.example/",
    ] {
        check_webhook_url("url", url).unwrap();
    }
}

#[test]
fn urls_that_can_not_be_posted_to_as_written_are_refused() {
    let long = format!("https://example.com/{}", "a".repeat(MAX_URL));
    refuses(
        check_webhook_url,
        &[
            ("", "isn't a URL"),
            ("example.com/hook", "isn't a URL"),
            ("/hook", "http:// or https://"),
            ("example.com:80", "http:// or https://"),
            ("ftp://example.com/", "http:// or https://"),
            ("file:///etc/passwd", "isn't a URL"),
            ("https://", "isn't a URL"),
            ("https://:8080/", "names no host"),
            ("https://user:word@example.com/", "user name or password"),
            ("https://example.com:99999/", "port from 1 to 65535"),
            ("https://example.com:0/", "port from 1 to 65535"),
            ("https://example.com:/", "port from 1 to 65535"),
            ("https://example.com/#part", "after '#'"),
            ("https://bücher.example/", "xn--"),
            ("https://example.com/a b", "isn't a URL"),
            ("https://example.com/\r\nHost: x", "isn't a URL"),
            (&long, "2068 bytes"),
        ],
    );
}

#[test]
fn a_password_in_a_url_is_not_repeated() {
    for url in ["https://user:hunter2@example.com/", "https://user:hunter2"] {
        let error = check_webhook_url("url", url).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn a_secret_is_read_back_as_it_was_written() {
    for length in [24, 32, 33, 64] {
        let secret = WebhookSecret((0..length).collect());
        let written = serde_json::to_string(&secret).unwrap();
        assert_eq!(written, format!("{:?}", secret.reveal()));
        assert_eq!(serde_json::from_str::<WebhookSecret>(&written).unwrap(), secret);
        assert_eq!(WebhookSecret::parse("secret", &secret.reveal()).unwrap().key(), secret.key());
    }
    assert_eq!(WebhookSecret::from_random([0; 24]).reveal(), format!("whsec_{}", "A".repeat(32)));
}

#[test]
fn a_secret_of_another_form_is_refused_without_being_shown() {
    let short = "whsec_c2VjcmV0";
    for value in ["", "c2VjcmV0", "WHSEC_c2VjcmV0", "whsec_", "whsec_?", "whsec_c2VjcmV", short] {
        let error = WebhookSecret::parse("secret", value).unwrap_err();
        assert!(!error.to_string().contains("c2Vj"), "{error}");
        assert!(serde_json::from_str::<WebhookSecret>(&format!("{value:?}")).is_err());
    }
    let long = WebhookSecret(vec![0; 65]).reveal();
    assert!(WebhookSecret::parse("secret", &long).unwrap_err().to_string().contains("65 bytes"));
}

#[test]
fn a_secret_does_not_show_when_debugged() {
    let secret = WebhookSecret::from_random([7; 24]);
    let shown = format!("{secret:?}");
    assert_eq!(shown, "WebhookSecret(…)");
}
