use jobstore::StoreUrl;

/// Reads a URL: what is read can be shown and read again, and what is refused is refused as a URL.
///
/// # Panics
///
/// When that is not so.
pub fn url(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match text.parse::<StoreUrl>() {
        Ok(url) => {
            // A password is not shown, so it is the second and third showing that must be the same.
            let shown = url.to_string();
            let again: StoreUrl = shown
                .parse()
                .unwrap_or_else(|error| panic!("{text:?} is shown as {shown:?}: {error}"));
            assert_eq!(again.to_string(), shown, "of {text:?}");
            if let StoreUrl::Sqlite(_) | StoreUrl::Sled(_) | StoreUrl::Redb(_) = url {
                assert_eq!(again, url, "of {text:?}");
            }
        }
        Err(error) => {
            assert_eq!(error.code(), "invalid_argument", "of {text:?}");
            assert!(error.to_string().starts_with("invalid url: "), "{error}");
        }
    }
}
