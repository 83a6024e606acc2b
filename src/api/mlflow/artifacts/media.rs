//! Media types by name, as `mlflow/utils/mime_type_utils.py` has them. A table of our own: the few kinds of files that people log need no
//! crate with a thousand.

/// Shown as text whatever they are.
const TEXTS: &[&str] = &[
    "txt",
    "log",
    "err",
    "cfg",
    "conf",
    "cnf",
    "cf",
    "ini",
    "properties",
    "prop",
    "hocon",
    "toml",
    "yaml",
    "yml",
    "xml",
    "json",
    "js",
    "py",
    "py3",
    "csv",
    "tsv",
    "md",
    "rst",
    "ipynb",
    "MLmodel",
    "MLproject",
];

/// Others by their ending, as Python's `mimetypes` has them.
const KINDS: &[(&str, &str)] = &[
    ("avi", "video/x-msvideo"),
    ("bmp", "image/bmp"),
    ("css", "text/css"),
    ("gif", "image/gif"),
    ("h5", "application/x-hdf5"),
    ("htm", "text/html"),
    ("html", "text/html"),
    ("ico", "image/vnd.microsoft.icon"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("mjs", "text/javascript"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("mpeg", "video/mpeg"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("sh", "application/x-sh"),
    ("svg", "image/svg+xml"),
    ("tar", "application/x-tar"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("wasm", "application/wasm"),
    ("wav", "audio/x-wav"),
    ("webm", "video/webm"),
    ("webp", "image/webp"),
    ("zip", "application/zip"),
];

/// The media type of a file of this name.
pub fn of(name: &str) -> &'static str {
    // A dot at the beginning starts no ending.
    let ending = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map_or(name, |(_, ending)| ending);
    if TEXTS.contains(&ending) {
        return "text/plain";
    }
    let known = KINDS.iter().find(|(kind, _)| ending.len() < name.len() && ending.eq_ignore_ascii_case(kind));
    known.map_or("application/octet-stream", |(_, media)| media)
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_tell_the_media_type() {
        for (name, media) in [
            ("MLmodel", "text/plain"),
            ("conda.yaml", "text/plain"),
            ("plot.png", "image/png"),
            ("PLOT.JPG", "image/jpeg"),
            ("estimator.html", "text/html"),
            ("model.pkl", "application/octet-stream"),
            ("png", "application/octet-stream"),
            (".json", "application/octet-stream"),
            ("", "application/octet-stream"),
        ] {
            assert_eq!(super::of(name), media, "{name}");
        }
    }
}
