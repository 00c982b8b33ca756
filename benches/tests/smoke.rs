//! The benchmarks' programs, run as shortly as they can be, so that they still work when they are needed.

use std::fs;
use std::path::Path;
use std::process::Command;

use jobstore_benches::Engine;
use jobstore_benches::results::Results;

fn run(program: &str, args: &[&str], data: &Path) {
    let mut command = Command::new(program);
    let command = command.args(args).env("JOBSTORE_BENCH_DATA", data);
    let output = command.output().expect("starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn every_engine_is_measured_and_the_report_shows_it() {
    let folder = tempfile::tempdir().expect("makes a folder");
    let data = folder.path().join("data");
    for engine in Engine::ALL {
        let out = folder.path().join(format!("{}.json", engine.name()));
        let shortest = "--rounds 1 --millis 1 --jobs 100 --rows 30 --growth 30,60 --out";
        let mut args: Vec<&str> = vec![engine.name()];
        args.extend(shortest.split(' '));
        args.push(out.to_str().expect("UTF-8"));
        run(env!("CARGO_BIN_EXE_measure"), &args, &data);
        let text = fs::read_to_string(&out).expect("it was written");
        let results: Results = serde_json::from_str(&text).expect("it can be read");
        for group in [
            "create",
            "claim",
            "finish",
            "lifecycle",
            "mixed",
            "list",
            "pick-up",
            "growth",
        ] {
            let of_group = results
                .figures
                .iter()
                .filter(|figure| figure.group == group);
            assert!(of_group.clone().count() > 0, "{engine} has no {group}");
            for figure in of_group {
                assert!(
                    figure.rate() > 0.0 || figure.name.ends_with("(none)"),
                    "{engine}: {figure:?}"
                );
            }
        }
    }
    let place = folder.path().to_str().expect("UTF-8");
    run(env!("CARGO_BIN_EXE_report"), &[place], &data);
    let index = fs::read_to_string(folder.path().join("index.md")).expect("it was written");
    for engine in Engine::ALL {
        assert!(
            index.contains(&format!("\n## {engine}\n")),
            "{engine} is missing"
        );
        for kind in ["batches", "rows"] {
            let plot = folder.path().join(format!("{kind}-{}.svg", engine.name()));
            let plot = fs::read_to_string(plot).expect("it was drawn");
            assert!(plot.contains("<polyline"), "{engine} has no line in {kind}");
        }
    }
}
