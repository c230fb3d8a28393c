//! state.json: where a run stood, and the SHA-256 of every file beside it, its own included. A folder with one is sealed:
//! whatever loads it looks at the seal first, so that a byte that changed is an error before anything is made of it.

use super::folder::{read_file, write_file};
use super::sha256;
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::path::Path;

/// The seal's file in a checkpoint's folder.
pub const STATE: &str = "state.json";
/// The form of state.json that is written and read.
pub const FORMAT: u64 = 1;

/// What stands for the file's own checksum while that is taken.
const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Writes state.json into a folder whose other files are all written: the keys of `state` and the checksums.
///
/// # Errors
/// [`Error::Io`] when a file cannot be read or written.
pub fn seal(folder: &Path, state: &Map<String, Value>) -> Result<()> {
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
    let mut all = Map::from_iter([("format".to_string(), json!(FORMAT))]);
    all.extend(state.clone());
    all.extend([("files".to_string(), Value::Object(files)), ("checksum".to_string(), json!(ZEROS))]);
    let text = format!("{:#}\n", Value::Object(all));
    let own = sha256::of([text.as_bytes()]);
    write_file(&folder.join(STATE), text.replace(ZEROS, &own).as_bytes())
}

/// Holds every file of a sealed folder against its checksum and gives the keys of its state.json; none where there is no
/// state.json.
///
/// # Errors
/// [`Error::File`] naming the file that is damaged or missing.
pub fn verify(folder: &Path) -> Result<Option<Map<String, Value>>> {
    let path = folder.join(STATE);
    if !path.exists() {
        return Ok(None);
    }
    let bad = |message: String| Error::file(&path, message);
    let damaged = |what: &str| bad(format!("{what}: the file is damaged"));
    let text = String::from_utf8(read_file(&path)?).map_err(|_| damaged("not UTF-8"))?;
    let mut state: Map<String, Value> = serde_json::from_str(&text).map_err(|e| damaged(&e.to_string()))?;
    let own = state.remove("checksum");
    let own = own.as_ref().and_then(Value::as_str).filter(|own| own.len() == ZEROS.len()).unwrap_or_default();
    // The format stands over the checksum: a later program may take it otherwise.
    match state.remove("format") {
        Some(format) if format == FORMAT => {}
        Some(format) => return Err(bad(format!("format {format}: must be {FORMAT}, the one that this program reads"))),
        None => return Err(damaged("it has no format")),
    }
    if own.is_empty() || sha256::of([text.replace(own, ZEROS).as_bytes()]) != own {
        return Err(damaged("it does not have its own checksum"));
    }
    let Some(Value::Object(files)) = state.remove("files") else { return Err(damaged("it names no files")) };
    for (name, checksum) in &files {
        if Path::new(name).file_name().is_none_or(|last| last != name.as_str()) {
            return Err(bad(format!("it names {name:?}: must be a file of its own folder")));
        }
        let path = folder.join(name);
        let found = sha256::of_file(&path).map_err(|e| Error::file(&path, format!("could not be read: {e}")))?;
        if *checksum != found.as_str() {
            return Err(Error::file(&path, format!("is damaged: {STATE} has another checksum for it")));
        }
    }
    Ok(Some(state))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("a.bin"), vec![7; 600_000]).expect("write");
        std::fs::write(folder.path().join("b.json"), "{}").expect("write");
        let state = Map::from_iter([("step".to_string(), json!(300))]);
        seal(folder.path(), &state).expect("seal");
        folder
    }

    fn error(folder: &Path) -> String {
        let error = verify(folder).expect_err("damage");
        assert!(error.is_invalid_input());
        error.to_string()
    }

    #[test]
    fn a_seal_gives_its_state_back() {
        let folder = sealed();
        let state = verify(folder.path()).expect("whole").expect("sealed");
        assert_eq!(state, Map::from_iter([("step".to_string(), json!(300))]));
        std::fs::remove_file(folder.path().join(STATE)).expect("remove");
        assert_eq!(verify(folder.path()).expect("not sealed"), None);
    }

    #[test]
    fn every_bit_of_every_file_counts() {
        let folder = sealed();
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
            verify(folder.path()).expect("whole again");
        }
        std::fs::remove_file(folder.path().join("b.json")).expect("remove");
        assert!(error(folder.path()).contains("b.json: could not be read"));
    }

    #[test]
    fn names_stay_in_the_folder_and_formats_are_known() {
        let folder = sealed();
        let path = folder.path().join(STATE);
        let text = std::fs::read_to_string(&path).expect("read");
        let resealed = |from: &str, to: &str| {
            let own =
                serde_json::from_str::<Value>(&text).expect("JSON")["checksum"].as_str().expect("hex").to_string();
            let blank = text.replace(&own, ZEROS).replace(from, to);
            std::fs::write(&path, blank.replace(ZEROS, &sha256::of([blank.as_bytes()]))).expect("write");
        };
        for name in ["../b.json", "/etc/passwd", "..", "a/../b.json", ""] {
            resealed("b.json", name);
            assert!(error(folder.path()).contains("must be a file of its own folder"), "{name}");
        }
        resealed("\"format\": 1", "\"format\": 2");
        assert!(error(folder.path()).ends_with("format 2: must be 1, the one that this program reads"));
        for nonsense in ["", "null", "[]", "{}", "{\"format\": 1}", "{\"format\": 1, \"checksum\": \"\"}", "\u{0}"] {
            std::fs::write(&path, nonsense).expect("write");
            assert!(error(folder.path()).contains("is damaged"), "{nonsense}");
        }
    }
}
