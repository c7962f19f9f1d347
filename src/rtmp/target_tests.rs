//! What encoders and people write into the fields for server and stream key.

use proptest::prelude::*;

use super::*;

#[test]
fn targets_as_encoders_send_them() {
    let table = [
        // app, tcUrl, name, path, key
        ("live", "rtmp://h/live", "cam1", "live/cam1", None),
        ("live/", "rtmp://h/live/", "cam1", "live/cam1", None),
        ("live/x", "rtmp://h/live/x", "cam1", "live/x/cam1", None),
        ("live", "rtmp://h/live", "x/cam1", "live/x/cam1", None),
        ("live", "rtmp://h/live", "cam1?token=s3cret", "live/cam1", Some("s3cret")),
        ("live", "rtmp://h/live", "cam1?a=b&key=s%20%2b%zz", "live/cam1", Some("s +%zz")),
        ("live?token=app", "rtmp://h/live?token=url", "cam1", "live/cam1", Some("app")),
        ("live", "rtmp://h/live?token=url", "cam1?x=1", "live/cam1", Some("url")),
        ("live?token=app", "", "cam1?key=name", "live/cam1", Some("name")),
        ("live/cam1", "rtmp://h/live/cam1", "", "live/cam1", None),
        ("live/cam1", "rtmp://h/live/cam1", "?token=t", "live/cam1", Some("t")),
        ("", "rtmp://h/", "cam1", "cam1", None),
        ("vids", "", "mp4:cam1", "vids/cam1", None),
        ("live", "", "cam1?token=", "live/cam1", None),
        // Slashes
        ("live", "", "/cam1", "live/cam1", None),
        ("/live//", "", "//room//cam1/", "live/room/cam1", None),
        ("", "rtmp://h", "live/cam1", "live/cam1", None),
        ("", "rtmp://h:1935/", "/live/cam1", "live/cam1", None),
        // Only the tcUrl names the app.
        ("", "rtmp://h:1935/live", "cam1", "live/cam1", None),
        ("", "rtmp://h/live?token=t", "cam1", "live/cam1", Some("t")),
        // What can't be seen
        ("live", "", "cam1 ", "live/cam1", None),
        ("live", "", "\t cam1\r\n", "live/cam1", None),
        ("live", "", "cam1\0", "live/cam1", None),
        ("live", "", "cam1\0\0rest", "live/cam1", None),
        ("live", "", "\u{FEFF}cam1\u{200B}", "live/cam1", None),
        ("live", "", "cam1\u{A0}?token=t\n", "live/cam1", Some("t")),
        ("live\0", "", "cam1", "live/cam1", None),
        (" live/ ", "", "cam1", "live/cam1", None),
        ("live", "", "cam1%20", "live/cam1", None),
        ("live", "", "cam1%0D%0A", "live/cam1", None),
        ("live", "", "cam1%00", "live/cam1", None),
        // Quotes around it, options behind it
        ("live", "", "\"cam1\"", "live/cam1", None),
        ("live", "", " 'cam1?token=t' ", "live/cam1", Some("t")),
        ("live", "", "“rtmp://h/live/cam1”", "live/cam1", None),
        ("live", "", "<cam1>", "live/cam1", None),
        ("live", "", "cam1?token=t\"", "live/cam1", Some("t\"")),
        ("live", "", "cam1?token='t'", "live/cam1", Some("'t'")),
        ("live", "", "cam1 live=1", "live/cam1", None),
        ("live", "", "cam1 -live=1", "live/cam1", None),
        ("live", "", "cam1?-live=1", "live/cam1", None),
        ("live", "", "cam1 live=1 timeout=9 pageUrl=http://h/x?y=z", "live/cam1", None),
        ("live", "", "cam1?token=a b=c", "live/cam1", Some("a b=c")),
        ("live", "", "rtmp://h/live/cam1 live=1", "live/cam1", None),
        // Escapes
        ("live", "", "c%61m1", "live/cam1", None),
        ("live", "", "room%2Fcam1", "live/room/cam1", None),
        ("li%76e", "", "room%2fcam1", "live/room/cam1", None),
        ("live%2Froom", "", "cam1", "live/room/cam1", None),
        ("live", "", "cam1%3Ftoken%3Dt", "live/cam1", Some("t")),
        ("live", "", "cam1%3Ftoken=t", "live/cam1", Some("t")),
        // A whole address
        ("live", "rtmp://h/live", "rtmp://h/live/cam1", "live/cam1", None),
        ("live", "", "RTMP://h:1935/live/cam1?token=t", "live/cam1", Some("t")),
        ("live", "", "rtmps://[::1]:443/live/room/cam1", "live/room/cam1", None),
        ("live", "", "rtmp%3A%2F%2Fh%2Flive%2Fcam1", "live/cam1", None),
        ("live", "", "rtmp://h/live/mp4:cam1", "live/cam1", None),
        ("", "", " rtmp://h/live/cam1\r\n", "live/cam1", None),
        ("rtmp://h/live", "rtmp://h/live", "cam1", "live/cam1", None),
        ("live", "", "h.example:1935/live/cam1?token=t", "live/cam1", Some("t")),
        ("live", "", "10.0.0.5:1935/live/room/cam1", "live/room/cam1", None),
        // Queries
        ("live", "", "cam1?", "live/cam1", None),
        ("live?", "", "cam1", "live/cam1", None),
        ("live", "", "cam1&token=t", "live/cam1", Some("t")),
        ("live", "", "cam1??token=t", "live/cam1", Some("t")),
        ("live", "", "cam1?a?token=t", "live/cam1", Some("t")),
        ("live/?token=t", "", "cam1", "live/cam1", Some("t")),
        ("live?a=b/", "", "cam1", "live/cam1", None),
        // User and password
        ("live?user=u&pass=p", "", "cam1", "live/cam1", Some("p")),
        ("live", "", "cam1?user=u&password=p", "live/cam1", Some("p")),
        ("live", "rtmp://h/live?user=u&pass=p", "cam1", "live/cam1", Some("p")),
        ("live", "rtmp://u:p%40@h/live", "cam1", "live/cam1", Some("p@")),
        ("live", "rtmp://k@h/live", "cam1", "live/cam1", Some("k")),
        ("live", "rtmp://u:a%2Bb%2Fc%3D%3D@h/live", "cam1", "live/cam1", Some("a+b/c==")),
        ("live", "rtmp://u:a%26b%3Fc%23d%40e@h:1935/live", "cam1", "live/cam1", Some("a&b?c#d@e")),
        ("live", "rtmp://u:p@ss:w/rd@h/live", "cam1", "live/cam1", Some("p@ss:w/rd")),
        ("live", "rtmp://u:a/b?c@[::1]:1935/live", "cam1", "live/cam1", Some("a/b")),
        ("live", "", "rtmp://u:a%2Fb%26c@h/live/cam1", "live/cam1", Some("a/b&c")),
        ("live", "", "rtmp://h/live/cam1?token=a@b", "live/cam1", Some("a@b")),
        ("live", "", "rtmp://[::1]:1935/live/cam1?token=a@b", "live/cam1", Some("a@b")),
        ("live", "", "rtmp%3A%2F%2Fu%3Ap%2540%40h%2Flive%2Fcam1", "live/cam1", Some("p@")),
        ("live", "", "rtmp://u:p@h/live/cam1", "live/cam1", Some("p")),
        // Prefixes and instances
        ("live", "", "flv:cam1", "live/cam1", None),
        ("live/_definst_", "", "mp4:room/cam1", "live/room/cam1", None),
        ("live", "", "room/mp4:cam1.mp4", "live/room/cam1.mp4", None),
    ];
    for (app, url, name, path, key) in table {
        let target = Target::parse(app, url, name).unwrap_or_else(|error| panic!("{app:?} {url:?} {name:?}: {error}"));
        assert_eq!((target.path.as_str(), target.key.as_deref()), (path, key), "{app:?} {url:?} {name:?}");
    }
}

#[test]
fn a_slash_in_a_key_that_the_client_took_for_the_end_of_the_app() {
    let target = Target::parse("live/cam1?token=a", "rtmp://h/live/cam1?token=a", "b+c==").unwrap();
    assert_eq!((target.path.as_str(), target.key.as_deref()), ("live/cam1", Some("a/b+c==")));
    let error = Target::parse("live/cam1?x=a", "rtmp://h/live/cam1?x=a", "b+c==").unwrap_err();
    assert!(error.to_string().contains("b+c=="), "{error}");
    let target = Target::parse("live/cam1?token=a", "rtmp://h/live/cam1?token=a", "b").unwrap();
    let readings: Vec<_> = target.readings().map(|(path, key)| (path.as_str(), key)).collect();
    assert_eq!(readings, [("live/cam1/b", Some("a")), ("live/cam1", Some("a/b"))]);
}

/// A password in front of the host is among the keys, whatever is in it, escaped or as far as possible raw.
#[test]
fn passwords_of_any_characters() {
    for secret in [
        "abc",
        "a+b/c==",
        "a&b",
        "a b",
        "a%b",
        "50%25",
        "a#b?c",
        "it's",
        "\"q\"",
        "é日本",
        "<x>&amp;",
        "a=b&token=c",
        "%41",
        "p@ss:w/rd",
        ":",
        "@",
        "?",
    ] {
        let escaped: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for written in [secret, &escaped] {
            let url = format!("rtmp://user:{written}@host:1935/live");
            for (app, tc_url, name) in
                [("live", &*url, "cam1"), ("live", "", &*format!("{url}/cam1")), (&*url, "", "cam1"), ("", &*url, "cam1?x=y")]
            {
                let target = Target::parse(app, tc_url, name).unwrap_or_else(|error| panic!("{app:?} {tc_url:?} {name:?}: {error}"));
                let found = target.readings().any(|(path, key)| path.as_str() == "live/cam1" && key == Some(secret));
                assert!(found, "{app:?} {tc_url:?} {name:?}: {target:?}");
            }
        }
    }
}

#[test]
fn what_was_mended_is_said() {
    for (name, mended) in [
        ("cam1", false),
        ("cam1?token=t", false),
        ("room/cam1", false),
        ("cam1 ", true),
        ("rtmp://h/live/cam1", true),
        ("cam1&token=t", true),
        ("cam1 live=1", true),
        ("\"cam1\"", true),
    ] {
        assert_eq!(Target::parse("live", "rtmp://h/live", name).unwrap().mended, mended, "{name:?}");
    }
}

#[test]
fn refused_with_a_sentence() {
    let table = [
        ("api", "x"),
        ("live", "../etc"),
        ("live", "%2e%2e/etc"),
        ("live", "a/%2E/b"),
        ("live/..", "x"),
        ("live", "rtmp://h/live/../x"),
        ("live", "a b"),
        ("live", "a\\b"),
        ("live", "host:1935"),
        ("", ""),
        ("live", "ä"),
        ("/", "/"),
        ("?token=t", "&"),
    ];
    for (app, name) in table {
        assert!(Target::parse(app, "", name).is_err(), "{app}/{name}");
    }
    assert!(Target::check_app("live/x?token=1").is_ok());
    assert!(Target::check_app("").is_ok());
    assert!(Target::check_app("ws").is_err());
}

proptest! {
    #[test]
    fn garbage_never_panics_nor_escapes(app in "\\PC{0,20}", url in "(rtmp://)?\\PC{0,20}", name in "[\\PC./%2eE:?&@]{0,30}") {
        if let Ok(target) = Target::parse(&app, &url, &name) {
            for (path, _) in target.readings() {
                prop_assert!(path.as_str().split('/').all(|segment| segment != "." && segment != ".." && !segment.is_empty()));
            }
        }
    }
}
