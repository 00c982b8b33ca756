//! The filter by params.

use jobstore_core::{Job, JobFilter, NewJob, Order};

use crate::Cx;
use crate::failure::{CaseResult, Failure, check_eq};

/// Fails unless exactly those of these params that are marked meet the filter, in a listing, in a
/// walk, and in the count.
async fn finds(cx: &Cx, filter: &str, params: &[(&str, bool)]) -> CaseResult {
    let name = filter.chars().take(100).collect::<String>();
    let new = |(text, _): &(&str, bool)| NewJob::new(&*name, *text);
    let jobs = cx.create_all(params.iter().map(new)).await?;
    let filter = JobFilter::default()
        .with_job_name(&*name)
        .with_params(filter);
    let found = cx.walk(&filter, 2, Order::Ascending).await?;
    let found: Vec<_> = found.iter().map(|job| job.id).collect();
    let mut expected_count = 0;
    for (Job { id, .. }, (text, expected)) in jobs.iter().zip(params) {
        expected_count += u64::from(*expected);
        if found.contains(id) != *expected {
            let verb = if *expected { "meet" } else { "do not meet" };
            let promise = format!("params {text} {verb} {name}");
            return Err(Failure::new(promise, "the contrary"));
        }
    }
    check_eq!(cx.count(&filter).await?.total(), expected_count, "{name}");
    Ok(())
}

/// Tries `{"k":wanted}` on `{"k":value}` for each value.
async fn value(cx: &Cx, wanted: &str, equal: &[&str], different: &[&str]) -> CaseResult {
    let text = |value: &&str| format!("{{\"x\":0,\"k\":{value}}}");
    let texts: Vec<String> = equal.iter().chain(different).map(text).collect();
    let params = texts.iter().enumerate();
    let params: Vec<_> = params
        .map(|(index, text)| (text.as_str(), index < equal.len()))
        .collect();
    finds(cx, &format!("{{\"k\":{wanted}}}"), &params).await
}

pub(crate) async fn the_empty_filter_meets_all(cx: &Cx) -> CaseResult {
    let all = [("{}", true), (r#"{"a":1}"#, true), (r#"{"a":null}"#, true)];
    finds(cx, "{}", &all).await?;
    finds(cx, " { } ", &all).await
}

pub(crate) async fn numbers_are_equal_by_exact_value(cx: &Cx) -> CaseResult {
    let equal = ["1", "1.0", "1e0", "10e-1", "0.1e1", "0.1E+1", "1.000"];
    value(cx, "1", &equal, &["2", "-1", "1.0000000000000000001", "10"]).await?;
    value(cx, "-0.5", &["-0.5", "-5e-1", "-0.50"], &["0.5", "-0.51"]).await?;
    value(cx, "0", &["-0", "0.0", "0e9", "-0.0E-3"], &["1e-400"]).await
}

pub(crate) async fn numbers_beyond_floats_are_exact(cx: &Cx) -> CaseResult {
    let big = "9007199254740993";
    value(
        cx,
        big,
        &[big],
        &["9007199254740992.0", "9007199254740992", "9007199254740994"],
    )
    .await?;
    let max = "18446744073709551615";
    value(
        cx,
        max,
        &[max],
        &["18446744073709551616", "18446744073709551614"],
    )
    .await?;
    value(cx, "1e400", &["1e400", "10e399"], &["1e401", "1e309", "1"]).await?;
    let long = "12345678901234567890.12345678901234567890";
    value(
        cx,
        long,
        &[long],
        &["12345678901234567890.12345678901234567891"],
    )
    .await?;
    value(
        cx,
        "0.1",
        &["1e-1"],
        &["0.1000000000000000055511151231257827"],
    )
    .await
}

pub(crate) async fn kinds_are_never_mixed(cx: &Cx) -> CaseResult {
    let values = [
        "1",
        "\"1\"",
        "true",
        "null",
        "[1]",
        "{\"1\":1}",
        "0",
        "false",
        "\"\"",
        "[]",
        "{}",
        "\"null\"",
    ];
    for wanted in values {
        let different: Vec<&str> = values
            .into_iter()
            .filter(|other| *other != wanted)
            .collect();
        value(cx, wanted, &[wanted], &different).await?;
    }
    Ok(())
}

pub(crate) async fn null_is_not_absent(cx: &Cx) -> CaseResult {
    let params = [
        (r#"{"a":null}"#, true),
        ("{}", false),
        (r#"{"b":null}"#, false),
        (r#"{"a":0}"#, false),
        (r#"{"a":""}"#, false),
    ];
    finds(cx, r#"{"a":null}"#, &params).await
}

pub(crate) async fn strings_are_equal_by_code_points(cx: &Cx) -> CaseResult {
    value(
        cx,
        "\"key\"",
        &["\"key\"", r#""\u006bey""#],
        &["\"KEY\"", "\"key \"", "\"kéy\"", "\" key\""],
    )
    .await?;
    value(
        cx,
        "\"é\"",
        &["\"é\"", r#""\u00e9""#],
        &["\"e\u{301}\"", "\"e\""],
    )
    .await?;
    value(cx, "\"ß\"", &["\"ß\""], &["\"ss\"", "\"ẞ\""]).await?;
    value(
        cx,
        "\"😀\"",
        &["\"😀\"", r#""\ud83d\ude00""#],
        &["\"🔥\"", "\"\u{fffd}\""],
    )
    .await
}

pub(crate) async fn strings_may_hold_anything(cx: &Cx) -> CaseResult {
    value(
        cx,
        r#""a\u0000b""#,
        &[r#""a\u0000b""#],
        &[r#""ab""#, r#""a""#],
    )
    .await?;
    value(cx, r#""%""#, &[r#""%""#], &[r#""x""#, r#""""#]).await?;
    value(cx, r#""a_c""#, &[r#""a_c""#], &[r#""abc""#]).await?;
    value(
        cx,
        r#""it's \"q\"""#,
        &[r#""it's \"q\"""#, r#""it's \u0022q\u0022""#],
        &[r#""it's q""#],
    )
    .await?;
    value(
        cx,
        r#""a\\b""#,
        &[r#""a\\b""#, r#""a\u005cb""#],
        &[r#""a\b""#, r#""ab""#],
    )
    .await?;
    value(cx, r#""\/\n""#, &[r#""/\u000a""#], &[r#""/n""#]).await
}

pub(crate) async fn arrays_are_equal_in_order(cx: &Cx) -> CaseResult {
    value(
        cx,
        "[1,[2,3]]",
        &["[1,[2,3]]", "[ 1.0, [2e0 ,3] ]"],
        &["[1,[3,2]]", "[[2,3],1]", "[1,[2,3],4]", "[1]", "[1,2,3]"],
    )
    .await
}

pub(crate) async fn objects_are_equal_in_any_order(cx: &Cx) -> CaseResult {
    let equal = [r#"{"a":1,"b":[{}]}"#, r#"{ "b" : [{}], "a" : 1.0 }"#];
    let different = [
        r#"{"a":1}"#,
        r#"{"a":1,"b":[{}],"c":0}"#,
        r#"{"a":1,"b":[]}"#,
        r#"{"A":1,"b":[{}]}"#,
    ];
    value(cx, r#"{"a":1,"b":[{}]}"#, &equal, &different).await
}

pub(crate) async fn only_top_level_keys_may_be_left_out(cx: &Cx) -> CaseResult {
    let params = [
        (r#"{"a":{"b":1},"z":9}"#, true),
        (r#"{"a":{"b":1,"c":2}}"#, false),
        (r#"{"z":{"a":{"b":1}}}"#, false),
        (r#"{"b":1}"#, false),
    ];
    finds(cx, r#"{"a":{"b":1}}"#, &params).await
}

pub(crate) async fn every_key_must_match(cx: &Cx) -> CaseResult {
    let params = [
        (r#"{"a":1,"b":2}"#, true),
        (r#"{"b":2.0,"c":3,"a":1}"#, true),
        (r#"{"a":1}"#, false),
        (r#"{"b":2}"#, false),
        (r#"{"a":2,"b":1}"#, false),
    ];
    finds(cx, r#"{"a":1,"b":2}"#, &params).await
}

pub(crate) async fn the_last_of_duplicate_keys_counts(cx: &Cx) -> CaseResult {
    let params = [
        (r#"{"a":1}"#, true),
        (r#"{"a":2,"a":1}"#, true),
        (r#"{"a":2,"\u0061":1}"#, true),
        (r#"{"a":1,"a":2}"#, false),
    ];
    finds(cx, r#"{"a":1}"#, &params).await?;
    finds(cx, r#"{"a":7,"a":1}"#, &params).await?;
    value(
        cx,
        r#"{"a":1}"#,
        &[r#"{"a":2,"a":1}"#],
        &[r#"{"a":1,"a":2}"#],
    )
    .await
}

pub(crate) async fn a_key_is_a_text_and_no_path(cx: &Cx) -> CaseResult {
    for key in [
        "", "a.b", "$", "$.a", "a[0]", "%", "a'b", "a b", "0", "é", "*",
    ] {
        let filter = format!("{{\"{key}\":1}}");
        let params = [
            (&*filter, true),
            (r#"{"a":{"b":1}}"#, false),
            (r#"{"a":[1]}"#, false),
            (r#"{"a":1}"#, false),
            ("{}", false),
        ];
        let found = finds(cx, &filter, &params).await;
        found.map_err(|failure| failure.when(format!("key {key:?}")))?;
    }
    Ok(())
}

pub(crate) async fn deep_params_are_compared(cx: &Cx) -> CaseResult {
    let deep = |leaf: &str| format!("{}{leaf}{}", "[".repeat(126), "]".repeat(126));
    let other = deep("2");
    value(cx, &deep("1"), &[&deep("1.0")], &[&other, "[]"]).await
}

pub(crate) async fn a_filter_on_params_reads_what_is_stored_now(cx: &Cx) -> CaseResult {
    let job = cx.create(NewJob::new("a", r#"{"k":1}"#)).await?;
    let filter = JobFilter::default().with_params(r#"{"k":1}"#);
    cx.update(job.id, crate::cx::finish("done")).await?;
    let found = cx.list(&filter).await?;
    check_eq!(found.len(), 1);
    cx.unchanged(&found[0]).await
}

pub(crate) async fn keys_are_equal_by_code_points(cx: &Cx) -> CaseResult {
    let plain = [
        (r#"{"ab\u00e9":1}"#, true),
        (r#"{"\u0061b\u00E9":1}"#, true),
        ("{\"abé\":1}", true),
        (r#"{"abe\u0301":1}"#, false),
        (r#"{"ABé":1}"#, false),
        (r#"{"\\u0061bé":1}"#, false),
    ];
    for filter in ["{\"abé\":1}", r#"{"a\u0062\u00e9":1}"#] {
        finds(cx, filter, &plain).await?;
    }
    let slash = [(r#"{"a\/b":1}"#, true), (r#"{"a\u002fb":1}"#, true)];
    finds(cx, r#"{"a/b":1}"#, &slash).await
}

pub(crate) async fn exponents_of_any_length_are_exact(cx: &Cx) -> CaseResult {
    // Past what 128 bits hold, and with a carry through every digit.
    let (nines, power) = ("9".repeat(40), format!("1{}", "0".repeat(40)));
    for sign in ["", "-"] {
        let wanted = format!("1e{sign}{power}");
        let other = format!("1e{sign}{nines}");
        let equal = match sign {
            "" => format!("10e{nines}"),
            _ => format!("0.1e-{nines}"),
        };
        let spelt = format!("1.0e{sign}00{power}");
        value(cx, &wanted, &[&wanted, &equal, &spelt], &[&other, "1", "0"]).await?;
    }
    Ok(())
}

pub(crate) async fn every_escape_means_its_character(cx: &Cx) -> CaseResult {
    let escapes = [
        (r"\b", r"\u0008"),
        (r"\t", r"\u0009"),
        (r"\n", r"\u000a"),
        (r"\f", r"\u000C"),
        (r"\r", r"\u000d"),
        (r#"\""#, r"\u0022"),
        (r"\\", r"\u005C"),
        (r"\/", r"\u002f"),
    ];
    let quoted = |text: &str| format!("\"{text}\"");
    for (short, long) in escapes {
        let others = escapes.iter().filter(|(other, _)| *other != short);
        let others: Vec<String> = others.map(|(other, _)| quoted(other)).collect();
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        value(
            cx,
            &quoted(short),
            &[&quoted(short), &quoted(long)],
            &others,
        )
        .await?;
    }
    // What is compared as a text must not take a quote inside a string for its end, nor a backslash
    // for the begin of an escape.
    for (one, other) in [
        (r#"["x","y"]"#, r#"["x\",\"y"]"#),
        (r#""\u0001""#, r#""\\u0001""#),
    ] {
        value(cx, one, &[one], &[other]).await?;
        value(cx, other, &[other], &[one]).await?;
    }
    Ok(())
}
