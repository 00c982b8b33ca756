//! Writes, or with `--check` compares, what is made of the rules: `docs/specification.md`, and with
//! `--records FOLDER`, to which tests have added, the certificates. Run by `cargo xtask`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use jobstore_conformance::{Certificate, specification, table};

/// How certificates are made and what is compared.
const ABOUT: &str = "\
# Certificates

<!-- Made by `cargo xtask certificates`. -->

What each backend was found to keep, by the tests of this project: every rule of the
[specification](../specification.md) by its id, passed, failed, not applicable, or not checked because the
harness lacks a hook.

`cargo xtask certificates` runs those tests and writes this folder. Every full run of `cargo xtask test`
makes the certificates anew and fails when they differ from those here: by a rule that was not checked by
any test, that failed, or whose verdict changed, or by a whole backend. What differs between machines and days is not compared:
the engine's version, the date, and the seed of random choices.

Hooks that are absent here: `power_cut` needs a disk of its own and a process that dies with it, so `cargo xtask
reliability` cuts the power under every store that lasts and looks by itself what is left; `kill` of a server would
end it for all tests, so it kills private ones, as `backend-sql/tests/*_faults.rs` do; PostgreSQL's table keeps out by its checks what could be
claimed and not read, so there is nothing to `tamper` with; a store in memory has nobody who could `tamper` with it or
outlive its process.

";

type Outcome<T = ()> = Result<T, String>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let after = |name: &str| {
        let place = args.iter().position(|arg| arg == name)?;
        args.get(place + 1).cloned()
    };
    // Cargo says where the clone is that this runs in; one that shares its target folder with others may
    // have been built in another.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let here = here.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let documents = Documents {
        docs: here.join("../docs"),
        check: args.iter().any(|arg| arg == "--check"),
    };
    let records = after("--records").map(PathBuf::from);
    let date = after("--date").unwrap_or_default();
    match documents.make(records.as_deref(), &date) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Documents {
    docs: PathBuf,
    /// Compare instead of writing.
    check: bool,
}

impl Documents {
    fn make(&self, records: Option<&Path>, date: &str) -> Outcome {
        self.settle("specification.md", &specification())?;
        if let Some(records) = records {
            self.certificates(records, date)?;
        }
        let text = format!("{ABOUT}{}", table(&self.kept()?));
        self.settle("certificates/README.md", &text)
    }

    /// Writes a page, or fails when it is not this text.
    fn settle(&self, name: &str, text: &str) -> Outcome {
        let path = self.docs.join(name);
        if !self.check {
            return write(&path, text);
        }
        match fs::read_to_string(&path) {
            Ok(there) if there == text => Ok(()),
            _ => Err(format!(
                "docs/{name} is not what the rules say; `cargo xtask docs` writes it"
            )),
        }
    }

    /// The certificates that are kept, by the names of their files.
    fn kept(&self) -> Outcome<Vec<Certificate>> {
        let files = files(&self.docs.join("certificates"), "json")?;
        files.iter().map(|path| read_certificate(path)).collect()
    }

    fn certificates(&self, records: &Path, date: &str) -> Outcome {
        let mut made = Vec::new();
        for path in files(records, "jsonl")? {
            let certificate = Certificate::of_record(&read(&path)?, date);
            let named = |error| format!("{}: {error}", path.display());
            made.push(certificate.map_err(named)?);
        }
        let folder = self.docs.join("certificates");
        if !self.check {
            for certificate in &made {
                write(
                    &folder.join(certificate.file_name()),
                    &certificate.to_json(),
                )?;
            }
            return Ok(());
        }
        let mut differing = Vec::new();
        let kept = self.kept()?;
        for kept in &kept {
            match made.iter().find(|made| made.backend == kept.backend) {
                None => differing.push(format!("no test checked {}", kept.backend)),
                Some(made) => {
                    let differences = made.differences(kept);
                    let named = |line| format!("{}: {line}", kept.backend);
                    differing.extend(differences.into_iter().map(named));
                }
            }
        }
        let unknown = made.iter().filter(|made| {
            let same = |kept: &&Certificate| kept.backend == made.backend;
            !kept.iter().any(|kept| same(&kept))
        });
        differing.extend(unknown.map(|made| format!("{} has no certificate", made.backend)));
        match differing.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "the certificates in docs/certificates do not say what the tests found; `cargo \
                 xtask certificates` writes them\n{}",
                differing.join("\n")
            )),
        }
    }
}

/// The files of a folder that end so, in the order of their names.
fn files(folder: &Path, extension: &str) -> Outcome<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Outcome<String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Outcome {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn read_certificate(path: &Path) -> Outcome<Certificate> {
    let parsed = serde_json::from_str(&read(path)?);
    parsed.map_err(|error| format!("{}: {error}", path.display()))
}
