//! state.json: the state of a run at a checkpoint, and the SHA-256 of every file of the folder, state.json included.
//!
//! Every reader of a folder with a state.json verifies the checksums first, so that a changed byte is an error before any
//! value is used.

use super::atomic::write_file;
use super::sha256;
use crate::data::read_file::read_text_bytes;
use crate::error::FileFault;
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::path::Path;

/// The file of states and checksums in a checkpoint's folder.
pub const STATE: &str = "state.json";
/// The format version of state.json that is written and read.
pub const FORMAT: u64 = 1;

/// The value of `checksum` while the checksum of state.json itself is computed.
const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Writes state.json with the keys of `state` and the checksums of all files in `folder`, which must be complete.
///
/// # Errors
/// [`Error::Io`] when a file cannot be read or written.
pub fn write(folder: &Path, state: &Map<String, Value>) -> Result<()> {
    let mut files = Map::new();
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let mut names = entries
        .map(|entry| Ok(entry.map_err(|e| Error::io(folder, e))?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<String>>>()?;
    names.sort();
    for name in names {
        let path = folder.join(&name);
        files.insert(name, sha256::of_file(&path).map_err(|e| Error::io(&path, e))?.into());
    }
    let mut keys = Map::from_iter([("format".to_string(), json!(FORMAT))]);
    keys.extend(state.clone());
    keys.extend([("files".to_string(), Value::Object(files)), ("checksum".to_string(), json!(ZEROS))]);
    let text = format!("{:#}\n", Value::Object(keys));
    let own = sha256::of([text.as_bytes()]);
    write_file(&folder.join(STATE), text.replace(ZEROS, &own).as_bytes())
}

/// Verifies the checksums of a folder and returns the keys of its state.json; `None` without a state.json.
///
/// # Errors
/// [`Error::File`] naming the file that is damaged or missing.
pub fn verify(folder: &Path) -> Result<Option<Map<String, Value>>> {
    let path = folder.join(STATE);
    if !path.exists() {
        return Ok(None);
    }
    let damaged = |why: &str| Error::file(&path, "is damaged").expected(why).with_fault(FileFault::Damaged);
    let text = String::from_utf8(read_text_bytes(&path)?).map_err(|_| damaged("must be UTF-8"))?;
    let mut state: Map<String, Value> = serde_json::from_str(&text).map_err(|e| damaged(&e.to_string()))?;
    let own = state.remove("checksum");
    let own = own.as_ref().and_then(Value::as_str).filter(|own| own.len() == ZEROS.len()).unwrap_or_default();
    // The format is checked before the checksum, which a later format may compute differently.
    match state.remove("format") {
        Some(format) if format == FORMAT => {}
        Some(format) => {
            let expected = format!("must be {FORMAT}, the format that this version reads");
            return Err(Error::file(&path, format).at("format").expected(expected));
        }
        None => return Err(damaged("must have the key `format`")),
    }
    if own.is_empty() || sha256::of([text.replace(own, ZEROS).as_bytes()]) != own {
        return Err(damaged("its own checksum does not match"));
    }
    let Some(Value::Object(files)) = state.remove("files") else { return Err(damaged("must have the key `files`")) };
    for (name, checksum) in &files {
        if Path::new(name).file_name().is_none_or(|last| last != name.as_str()) {
            let expected = "must be the name of a file in the same folder";
            return Err(Error::file(&path, format!("{name:?}")).at("files").expected(expected));
        }
        let path = folder.join(name);
        let actual = sha256::of_file(&path).map_err(|e| Error::unreadable(&path, &e))?;
        if *checksum != actual.as_str() {
            let error = Error::file(&path, "is damaged").expected(format!("its checksum differs from {STATE}"));
            return Err(error.with_fault(FileFault::Damaged));
        }
    }
    Ok(Some(state))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_checksums() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("a.bin"), vec![7; 600_000]).expect("write");
        std::fs::write(folder.path().join("b.json"), "{}").expect("write");
        let state = Map::from_iter([("step".to_string(), json!(300))]);
        write(folder.path(), &state).expect("write");
        folder
    }

    fn error(folder: &Path) -> String {
        let error = verify(folder).expect_err("damage");
        assert!(error.is_invalid_input());
        error.to_string()
    }

    #[test]
    fn verify_returns_the_written_state() {
        let folder = with_checksums();
        let state = verify(folder.path()).expect("verified").expect("state.json");
        assert_eq!(state, Map::from_iter([("step".to_string(), json!(300))]));
        std::fs::remove_file(folder.path().join(STATE)).expect("remove");
        assert_eq!(verify(folder.path()).expect("no state.json"), None);
    }

    #[test]
    fn a_flipped_bit_or_a_missing_byte_is_found() {
        let folder = with_checksums();
        for name in ["a.bin", "b.json", STATE] {
            let path = folder.path().join(name);
            let good = std::fs::read(&path).expect("read");
            // All bits of the small files, some of the large one.
            let stride = if good.len() > 10_000 { 100_003 } else { 1 };
            for at in (0..good.len()).step_by(stride) {
                let mut bad = good.clone();
                bad[at] ^= 1 << (at % 8);
                std::fs::write(&path, &bad).expect("write");
                assert!(error(folder.path()).contains(name), "byte {at} of {name}");
            }
            for short in [0, 1, good.len() / 2, good.len() - 1] {
                std::fs::write(&path, &good[..short]).expect("write");
                assert!(error(folder.path()).contains(name), "{short} bytes of {name}");
            }
            std::fs::write(&path, &good).expect("write");
            verify(folder.path()).expect("undamaged again");
        }
        std::fs::remove_file(folder.path().join("b.json")).expect("remove");
        assert!(error(folder.path()).contains("b.json: could not be read"));
    }

    #[test]
    fn names_outside_the_folder_and_unknown_formats_are_refused() {
        let folder = with_checksums();
        let path = folder.path().join(STATE);
        let text = std::fs::read_to_string(&path).expect("read");
        let with_own_checksum = |from: &str, to: &str| {
            let own =
                serde_json::from_str::<Value>(&text).expect("JSON")["checksum"].as_str().expect("hex").to_string();
            let blank = text.replace(&own, ZEROS).replace(from, to);
            std::fs::write(&path, blank.replace(ZEROS, &sha256::of([blank.as_bytes()]))).expect("write");
        };
        for name in ["../b.json", "/etc/passwd", "..", "a/../b.json", ""] {
            with_own_checksum("b.json", name);
            assert!(error(folder.path()).contains("must be the name of a file in the same folder"), "{name}");
        }
        with_own_checksum("\"format\": 1", "\"format\": 2");
        assert!(error(folder.path()).ends_with("format: 2: must be 1, the format that this version reads"));
        for nonsense in ["", "null", "[]", "{}", "{\"format\": 1}", "{\"format\": 1, \"checksum\": \"\"}", "\u{0}"] {
            std::fs::write(&path, nonsense).expect("write");
            assert!(error(folder.path()).contains("is damaged"), "{nonsense}");
        }
    }
}
