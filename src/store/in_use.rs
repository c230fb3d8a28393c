//! Files that another program has open. Windows refuses to rename, replace or delete them, and a virus scanner or an indexer
//! looks at each new file for a moment. There, such a call is repeated for about a second.

use std::io;
use std::time::Duration;

/// The first wait; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(1);
/// Waits before the error is returned, 1 s in all.
const WAITS: u32 = 10;

/// Errors of Windows.
const ERROR_ACCESS_DENIED: i32 = 5;
const ERROR_SHARING_VIOLATION: i32 = 32;
const ERROR_LOCK_VIOLATION: i32 = 33;
const ERROR_USER_MAPPED_FILE: i32 = 1224;

const IN_USE: [i32; 4] = [ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION, ERROR_USER_MAPPED_FILE];

/// Calls `attempt`, on Windows again and again while it fails because another program has a file open.
///
/// # Errors
/// Those of the last call.
pub fn retry<T>(attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    retry_with(if cfg!(windows) { WAITS } else { 0 }, attempt, std::thread::sleep)
}

fn retry_with<T>(waits: u32, mut attempt: impl FnMut() -> io::Result<T>, wait: impl Fn(Duration)) -> io::Result<T> {
    for n in 0..waits {
        match attempt() {
            Err(e) if is_in_use(&e) => wait(FIRST_WAIT * (1 << n)),
            result => return result,
        }
    }
    attempt()
}

/// Whether an error of Windows can mean that another program has the file open. A folder with an open file in it, and a file
/// that is deleted once it is closed, are reported as access denied.
fn is_in_use(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| IN_USE.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_file_in_use_is_tried_again_and_other_errors_are_returned() {
        let waited = Cell::new(Duration::ZERO);
        let (calls, wait) = (Cell::new(0), |time| waited.set(waited.get() + time));
        let fail = |code: i32, times: u32| {
            calls.set(0);
            let attempt = || {
                calls.set(calls.get() + 1);
                if calls.get() <= times { Err(io::Error::from_raw_os_error(code)) } else { Ok(calls.get()) }
            };
            retry_with(WAITS, attempt, wait).map_err(|e| e.raw_os_error())
        };
        for code in IN_USE {
            assert_eq!((fail(code, 3), waited.take()), (Ok(4), Duration::from_millis(1 + 2 + 4)));
            assert_eq!((fail(code, 99), calls.get()), (Err(Some(code)), WAITS + 1));
            assert!(waited.take() < Duration::from_millis(1100));
        }
        const ERROR_FILE_NOT_FOUND: i32 = 2;
        assert_eq!((fail(ERROR_FILE_NOT_FOUND, 1), waited.take()), (Err(Some(ERROR_FILE_NOT_FOUND)), Duration::ZERO));
    }
}
