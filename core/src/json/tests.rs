use super::*;
use proptest::prelude::*;
use serde_json::Value;

fn canonical(value: &str) -> String {
    let filter = ObjectFilter::new(&format!("{{\"k\":{value}}}"));
    filter
        .unwrap_or_else(|problem| panic!("{value}: {problem:?}"))
        .canonical()
}

fn equal(a: &str, b: &str) -> bool {
    let filter = ObjectFilter::new(&format!("{{\"k\":{a}}}")).unwrap();
    let matches = filter.matches(&format!(" {{\"x\":[{{}}],\"k\" : {b} }} "));
    assert_eq!(matches, canonical(a) == canonical(b), "{a} {b}");
    matches
}

fn nested(arrays: usize) -> String {
    format!("{{\"k\":{}{}}}", "[".repeat(arrays), "]".repeat(arrays))
}

#[test]
fn only_strict_objects_are_accepted() {
    let good =
        r#"1e400|-0.0E+07|123456789012345678901234567890|"\u0000\ud83d\ude00\/"|[ ]|[{}, 1 ]"#;
    for value in good.split('|') {
        assert_eq!(
            check_object(&format!(" {{\t\"k\":{value}\r}}\n")),
            Ok(()),
            "{value}"
        );
    }
    let bad = "|NaN|01|-01|-|+1|1.|.1|1e|[1,]|[,]|[1 2]|{\"a\":1,}|{\"a\"}|{1:1}|/**/1|nul|[}|{]|1}|1,\
        |\"\n\"|\"\\x\"|\"\\u12g4\"|\"\\ud800\"|\"\\ud800\\u0061\"|\"\\udc00\"|\"\\ud800\\ud800\"|\u{a0}1|\"é";
    for value in bad.split('|') {
        assert!(
            check_object(&format!("{{\"k\":{value}}}")).is_err(),
            "{value}"
        );
    }
    for text in "|[]|1|{|{\"|{\"a\":\"\\|{} {}|\u{feff}{}|{}\0".split('|') {
        assert!(check_object(text).is_err(), "{text}");
    }
}

#[test]
fn nesting_is_bounded_without_recursion() {
    assert_eq!(check_object(&nested(126)), Ok(()));
    assert!(
        ObjectFilter::new(&nested(126))
            .unwrap()
            .matches(&nested(126))
    );
    let problem = check_object(&nested(127)).unwrap_err();
    assert_eq!((problem.offset, problem.reason), (131, "nested too deeply"));
    assert!(check_object(&nested(1_000_000)).is_err());
    assert!(
        !ObjectFilter::new("{\"a\":1}")
            .unwrap()
            .matches(&nested(1_000_000))
    );
}

#[test]
fn values_are_equal_when_they_mean_the_same() {
    let same = r#"1 = 1.0|1 = 1e0|1 = 10e-1|-0 = 0|0e9 = 0.00|-1.50 = -15e-1|1e-5 = 0.00001
        |1e100000000000000000000000000000000000000000 = 10e99999999999999999999999999999999999999999
        |10e-100000000000000000000000000000000000000000 = 1e-99999999999999999999999999999999999999999
        |"\u0061\ud83d\ude00\/" = "a😀/"|{"a":1,"b":2} = {"b":2.0,"a":9,"\u0061":1}|[{},[]] = [ { } , [ ] ]"#;
    for (a, b) in same.split('|').filter_map(|pair| pair.split_once('=')) {
        assert!(equal(a, b) && equal(b, a), "{a} {b}");
    }
    let different = r#"9007199254740993 = 9007199254740992.0|1 = -1|1 = "1"|null = false|0 = false
        |1e100000000000000000000000000000000000000000 = 1e99999999999999999999999999999999999999999
        |1e99999999999999999999999999999999999999999 = 1e-99999999999999999999999999999999999999999
        |[1,2] = [2,1]|[] = {}|[1] = [1,1]|"é" = "e\u0301"|{"a":null} = {}|"a" = "A""#;
    for (a, b) in different.split('|').filter_map(|pair| pair.split_once('=')) {
        assert!(!equal(a, b) && !equal(b, a), "{a} {b}");
    }
}

#[test]
fn a_filter_wants_all_its_keys_and_the_last_of_each() {
    let empty = ObjectFilter::new(" { } ").unwrap();
    assert!(empty.is_empty() && empty.matches("not JSON") && empty.canonical() == "{}");
    let filter = ObjectFilter::new(r#"{"a":7,"b":null,"a":1}"#).unwrap();
    assert_eq!(filter.canonical(), r#"{"a":1e0,"b":null}"#);
    assert!(filter.matches(r#"{"a":2,"b":null,"c":3,"\u0061":1}"#));
    for text in [
        r#"{"a":1}"#,
        r#"{"a":1,"b":null,"a":2}"#,
        r#"{"a":1,"b":null},"#,
        "[]",
        "",
    ] {
        assert!(!filter.matches(text), "{text}");
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2..3_i64).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ab\"\\\\\n😀]{0,2}".prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::hash_map("[ab]", inner, 0..3)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn equality_agrees_with_serde_json(a in any_value(), b in any_value()) {
        prop_assert_eq!(equal(&a.to_string(), &b.to_string()), a == b);
        let (text, pretty) = (a.to_string(), format!("{a:#}"));
        prop_assert!(equal(&text, &pretty));
        let once = canonical(&text);
        prop_assert_eq!(ObjectFilter::new(&once).unwrap().canonical(), once);
    }

    #[test]
    fn a_text_matches_however_its_strings_are_spelt(
        member in prop::collection::vec(any::<(char, bool, bool)>(), 0..6),
        scalar in prop_oneof![Just("true"), Just("null"), Just("10"), Just("[1]")],
    ) {
        let spell = |escaped: fn(&(char, bool, bool)) -> bool| {
            let mut string = String::from("\"");
            for spelt in &member {
                let raw = !escaped(spelt) && spelt.0 >= ' ' && !matches!(spelt.0, '"' | '\\');
                match raw {
                    true => string.push(spelt.0),
                    false => for unit in spelt.0.encode_utf16(&mut [0; 2]) {
                        string.push_str(&format!("\\u{unit:04x}"));
                    },
                }
            }
            string + "\""
        };
        let (one, other) = (spell(|spelt| spelt.1), spell(|spelt| spelt.2));
        let filter = ObjectFilter::new(&format!("{{{one}:{one}, \"k{}:{scalar}}}", &one[1..]));
        let text = format!("{{\"k{}:{scalar},\"more\":0,{other}: {other}}}", &other[1..]);
        prop_assert!(filter.unwrap().matches(&text), "{one} in {text}");
    }

    #[test]
    fn acceptance_agrees_with_serde_json(value in r#"[\[\]{}:,"01.\-\\u \n]{0,9}"#) {
        let text = format!("{{\"k\":{value}}}");
        prop_assert_eq!(check_object(&text).is_ok(), serde_json::from_str::<Value>(&text).is_ok());
    }
}
