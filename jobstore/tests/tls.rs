//! TLS: whom a store trusts, on servers with certificates made here.
#![cfg(all(feature = "postgres", feature = "mysql"))]

use std::error::Error as _;
use std::path::{Path, PathBuf};

use jobstore::Error;
use jobstore_test_servers::{Kind, Server};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// An authority, and its certificate in a file.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("is right");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let file = folder.join(name);
        std::fs::write(&file, certificate.pem()).expect("a file");
        Self {
            issuer: Issuer::new(params, key),
            file,
        }
    }

    /// A certificate for this host alone, and its key.
    fn certify(&self, host: &str) -> (String, String) {
        let params = CertificateParams::new([host.to_owned()]).expect("is right");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("is signed");
        (certificate.pem(), key.serialize_pem())
    }
}

/// Opens and uses the store.
async fn open(url: &str) -> jobstore::Result<()> {
    let store = jobstore::open(url).await?;
    store.count_jobs(&jobstore::JobFilter::default()).await?;
    Ok(())
}

fn refused_for(opened: jobstore::Result<()>, why: &str) {
    let error = opened.expect_err("is refused");
    assert!(matches!(error, Error::Backend { .. }), "{error:?}");
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    assert!(text.contains(why), "{text}");
}

async fn check(kind: Kind) {
    let folder = TempDir::new().expect("a folder");
    let authority = Authority::new(folder.path(), "authority");
    let other = Authority::new(folder.path(), "other");
    let (certificate, key) = authority.certify("localhost");
    let server = Server::of(kind).with_certificate(&certificate, &key);
    let server = server.start().expect("starts");
    let [require, chain, full] = match kind {
        Kind::Postgres => [
            "sslmode=require",
            "sslmode=verify-ca",
            "sslmode=verify-full",
        ],
        Kind::MariaDb => [
            "ssl-mode=REQUIRED",
            "ssl-mode=VERIFY_CA",
            "ssl-mode=VERIFY_IDENTITY",
        ],
    };
    let url = |host: &str, mode: &str, authority: Option<&Authority>| {
        let url = server.url().replace("127.0.0.1", host);
        let option = match kind {
            Kind::Postgres => "sslrootcert",
            Kind::MariaDb => "ssl-ca",
        };
        let trusted = authority.map(|authority| format!("&{option}={}", authority.file.display()));
        format!("{url}?{mode}{}", trusted.unwrap_or_default())
    };
    let right = Some(&authority);
    let full_url = url("localhost", full, right);
    open(&full_url).await.expect("is the server meant");
    refused_for(
        open(&url("localhost", full, Some(&other))).await,
        "certificate",
    );
    refused_for(open(&url("localhost", full, None)).await, "certificate");
    refused_for(open(&url("127.0.0.1", full, right)).await, "certificate");
    // Without the name, any server of the authority will do; without the authority, any at all.
    open(&url("127.0.0.1", chain, right))
        .await
        .expect("is of the authority");
    refused_for(
        open(&url("127.0.0.1", chain, Some(&other))).await,
        "certificate",
    );
    open(&url("127.0.0.1", require, None))
        .await
        .expect("is encrypted");

    // A server that offers no TLS is refused, not spoken to in plain text.
    let plain = Server::of(kind).start().expect("starts");
    let plain_url = full_url.replace(&server.port().to_string(), &plain.port().to_string());
    refused_for(open(&plain_url).await, "TLS");
}

#[tokio::test]
async fn postgresql_is_trusted_as_its_certificate_says() {
    check(Kind::Postgres).await;
}

#[tokio::test]
async fn mariadb_is_trusted_as_its_certificate_says() {
    check(Kind::MariaDb).await;
}
