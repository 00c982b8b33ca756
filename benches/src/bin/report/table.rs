//! The text of the report.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jobstore_benches::Engine;
use jobstore_benches::results::{Figure, Results};

use crate::peers::Peers;
use crate::plot::file;
use crate::target;

/// All of `index.md`.
pub(crate) fn index(all: &[Results], peers: Option<&Peers>, plots: &[String]) -> String {
    let mut text = include_str!("head.md").to_owned();
    text.push_str(&targets(all));
    text.push_str(&growth_targets(all));
    if let Some(peers) = peers {
        text.push_str(&beside_peers(peers));
    }
    for results in all {
        text.push_str(&engine(results, plots));
    }
    text.push_str("\n## Where and how\n");
    for results in all {
        let about = &results.about;
        let _ = write!(
            text,
            "\n{} {}: {}. Measured on {} on {} cores, {} GiB, {}, {}, commit {}:\n\n```sh\n{}\n```\n",
            results.title,
            version(&about.version),
            about.settings,
            about.date,
            about.cores,
            (about.memory + 512) / 1024,
            about.system,
            about.rustc,
            about.commit,
            about.command,
        );
    }
    text.push('\n');
    text.push_str(include_str!("tail.md"));
    text
}

fn version(version: &str) -> String {
    match version {
        "" => String::new(),
        version => format!("({version})"),
    }
}

/// The engine these results are about.
fn engine_of(results: &Results) -> Engine {
    results.engine.parse().expect("the program wrote it")
}

/// The same case on another side.
fn other<'a>(results: &'a Results, figure: &Figure, side: &str) -> Option<&'a Figure> {
    results.figures.iter().find(|other| {
        other.side == side
            && (
                &other.group,
                &other.name,
                other.callers,
                other.batch,
                other.rows,
            ) == (
                &figure.group,
                &figure.name,
                figure.callers,
                figure.batch,
                figure.rows,
            )
    })
}

/// The figures of the store in these groups of cases.
fn store<'a>(results: &'a Results, groups: &'a [&str]) -> impl Iterator<Item = &'a Figure> {
    results
        .figures
        .iter()
        .filter(move |figure| figure.side == "store" && groups.contains(&figure.group.as_str()))
}

const COMPARED: [&str; 5] = ["create", "claim", "finish", "lifecycle", "list"];

/// Every target beside what was measured.
fn targets(all: &[Results]) -> String {
    let mut text = String::from(
        "\n## Targets\n\n| | | beside | store ÷ engine | target | |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for results in all {
        for figure in store(results, &COMPARED) {
            for (side, beside) in SIDES {
                let Some(target) = target::of(engine_of(results), figure, side) else {
                    continue;
                };
                let Some(limit) = other(results, figure, side) else {
                    continue;
                };
                let ratio = figure.rate() / limit.rate();
                let verdict = if ratio >= target {
                    "met"
                } else {
                    "**not met**"
                };
                let _ = writeln!(
                    text,
                    "| {} | {} | {beside} | {ratio:.2} | {target} | {verdict} |",
                    results.title,
                    what(figure),
                );
            }
        }
    }
    text
}

/// What a page and a claim cost beside the most rows, as a multiple.
fn growth_targets(all: &[Results]) -> String {
    let mut text = format!(
        "\nGrowth: a page and a claim beside the most rows measured may cost at most {} times what they cost \
         beside ten thousand. Beside it, by how much the engine driven directly became dearer, beside as \
         many, or as many as stand behind it.\n\n\
         | | | rows | times the cost | | the engine |\n| --- | --- | --- | --- | --- | --- |\n",
        target::GROWTH
    );
    for results in all {
        for figure in store(results, &["growth"]).filter(|figure| figure.rows == most_rows(results))
        {
            let is_meant = figure.name.starts_with("claim") || figure.name.contains("page");
            let Some(ratio) = grown(results, figure).filter(|_| is_meant) else {
                continue;
            };
            let limits = results.figures.iter().filter(|other| {
                (&other.group, &other.name, &*other.side) == (&figure.group, &figure.name, "limit")
            });
            let limit = limits.max_by_key(|limit| limit.rows);
            let limit = limit.and_then(|limit| Some((limit.rows, grown(results, limit)?)));
            let limit = match limit {
                Some((rows, ratio)) if rows == figure.rows => format!("{ratio:.2}"),
                Some((rows, ratio)) => format!("{ratio:.2} ({})", number(rows as f64)),
                None => String::new(),
            };
            let verdict = if ratio <= target::GROWTH {
                "met"
            } else {
                "**not met**"
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {ratio:.2} | {verdict} | {limit} |",
                results.title,
                figure.name,
                number(figure.rows as f64),
            );
        }
    }
    text
}

/// How the report calls the sides beside the store.
const SIDES: [(&str, &str); 3] = [
    ("limit", "the engine"),
    ("single", "a step for each call"),
    ("group", "raw group commit"),
];

fn most_rows(results: &Results) -> usize {
    let rows = store(results, &["growth"]).map(|figure| figure.rows);
    rows.max().unwrap_or_default()
}

/// What a call of a case of growth costs, as a multiple of what it costs beside ten thousand rows.
fn grown(results: &Results, figure: &Figure) -> Option<f64> {
    let mut same = results.figures.iter().filter(|other| {
        (&other.group, &other.name, &other.side) == (&figure.group, &figure.name, &figure.side)
    });
    let base = same.find(|other| other.rows == 10_000 && other.rows != figure.rows)?;
    Some(figure.p50 / base.p50)
}

fn beside_peers(peers: &Peers) -> String {
    let faster = peers.comparisons.iter().filter(|one| one.ratio() >= 1.0);
    let mut text = format!(
        "\n## Beside other job queues\n\nFaster in {} of {} comparisons; [peers.md](peers.md) has them all. Not in these:\n\n\
         | | | peer | its durability | ours | its durability | ours ÷ peer |\n| --- | --- | --- | --- | --- | --- | --- |\n",
        faster.count(),
        peers.comparisons.len(),
    );
    for one in peers.comparisons.iter().filter(|one| one.ratio() < 1.0) {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {:.2} |",
            one.engine,
            one.title,
            one.peer.name,
            one.peer.durability,
            one.ours.name,
            one.ours.durability,
            one.ratio(),
        );
    }
    text
}

fn engine(results: &Results, plots: &[String]) -> String {
    let mut text = format!("\n## {}\n\n", results.title);
    for (kind, words) in [
        ("batches", "Throughput by batch size"),
        ("rows", "Cost against rows"),
        ("beside", "Beside peers and the engine"),
    ] {
        let file = file(kind, results);
        if plots.contains(&file) {
            let _ = writeln!(text, "![{words}]({file})");
        }
    }
    text.push_str(
        "\n| | jobs/s | p50 µs | p99 µs | the engine, jobs/s | ratio | raw group commit | ratio | a step for each call | ratio |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for figure in store(
        results,
        &["create", "claim", "finish", "lifecycle", "list", "mixed"],
    ) {
        let _ = write!(
            text,
            "| {} | {} | {} | {} |",
            what(figure),
            rates(figure),
            number(figure.p50),
            number(figure.p99)
        );
        for side in ["limit", "group", "single"] {
            match other(results, figure, side) {
                Some(other) => {
                    let ratio = figure.rate() / other.rate();
                    let _ = write!(text, " {} | {ratio:.2} |", rates(other));
                }
                None => text.push_str(" | |"),
            }
        }
        text.push('\n');
    }
    let pick_ups: Vec<_> = store(results, &["pick-up"]).collect();
    if !pick_ups.is_empty() {
        text.push_str(
            "\n| created until claimed | p50 µs | p99 µs | most |\n| --- | --- | --- | --- |\n",
        );
        for figure in pick_ups {
            let [p50, p99, max] = [figure.p50, figure.p99, figure.max].map(number);
            let _ = writeln!(text, "| {} | {p50} | {p99} | {max} |", figure.name);
        }
    }
    text.push_str(&growth(results));
    text
}

/// What calls cost and space is taken beside how many rows.
fn growth(results: &Results) -> String {
    let sizes: BTreeSet<usize> = store(results, &["growth"])
        .map(|figure| figure.rows)
        .collect();
    if sizes.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n| µs beside |");
    for rows in &sizes {
        let _ = write!(text, " {} |", number(*rows as f64));
    }
    let _ = write!(text, "\n| --- |{}\n", " --- |".repeat(sizes.len()));
    let mut names: Vec<&str> = Vec::new();
    for figure in store(results, &["growth"]) {
        if !names.contains(&figure.name.as_str()) {
            names.push(&figure.name);
        }
    }
    for name in names {
        row(&mut text, name, &sizes, |rows| {
            let figure =
                store(results, &["growth"]).find(|one| one.name == name && one.rows == rows);
            figure.map(|figure| figure.p50)
        });
    }
    let facts: BTreeSet<(&str, &str)> = results
        .facts
        .iter()
        .map(|fact| (&*fact.name, &*fact.unit))
        .collect();
    for (name, unit) in facts {
        row(&mut text, &format!("{name}, {unit}"), &sizes, |rows| {
            let fact = results
                .facts
                .iter()
                .find(|one| one.name == name && one.rows == rows);
            fact.map(|fact| fact.value)
        });
    }
    text
}

fn row(
    text: &mut String,
    name: &str,
    sizes: &BTreeSet<usize>,
    value: impl Fn(usize) -> Option<f64>,
) {
    let _ = write!(text, "| {name} |");
    for rows in sizes {
        let value = value(*rows).map_or_else(|| "–".to_owned(), number);
        let _ = write!(text, " {value} |");
    }
    text.push('\n');
}

/// A case in words.
pub(crate) fn what(figure: &Figure) -> String {
    match (figure.name.as_str(), figure.callers) {
        ("", 1) => format!("{} {}", figure.group, figure.batch),
        ("", callers) => format!("{} {}, {callers} callers", figure.group, figure.batch),
        (name, _) => name.to_owned(),
    }
}

/// The median, and the least and the most.
fn rates(figure: &Figure) -> String {
    let (least, most) = figure.spread();
    format!(
        "{} ({}–{})",
        number(figure.rate()),
        number(least),
        number(most)
    )
}

/// A number as people read it.
pub(crate) fn number(value: f64) -> String {
    let digits = match value {
        ..10.0 => return format!("{value:.1}"),
        _ => format!("{value:.0}"),
    };
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
