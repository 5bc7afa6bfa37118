//! Glue in Rust: the longest of several answers. Put a step of your own in its place; `docs/glue.md` is the manual.
//!
//! cargo build --release --target wasm32-unknown-unknown

#[link(wasm_import_module = "tollway")]
extern "C" {
    /// Ends the run with a reason of at most 200 bytes.
    fn fail(at: *const u8, size: usize);
}

/// Room for the gateway's input. It is not freed: each run has a memory of its own.
#[no_mangle]
pub extern "C" fn alloc(size: usize) -> *mut u8 {
    let mut room = Vec::with_capacity(size);
    let at = room.as_mut_ptr();
    std::mem::forget(room);
    at
}

/// The export that a capsule's step names.
///
/// # Safety
/// The gateway passes what it got from `alloc`, filled with `size` bytes of JSON.
#[no_mangle]
pub unsafe extern "C" fn longest(at: *const u8, size: usize) -> u64 {
    run(std::slice::from_raw_parts(at, size), longest_of)
}

/// Where the output lies, and its length: pointer << 32 | length.
fn run(input: &[u8], step: fn(&str) -> Result<String, &'static str>) -> u64 {
    match std::str::from_utf8(input)
        .map_err(|_| "the input is not UTF-8")
        .and_then(step)
    {
        Ok(output) => {
            let output = output.into_bytes().leak();
            (output.as_ptr() as u64) << 32 | output.len() as u64
        }
        Err(reason) => {
            unsafe { fail(reason.as_ptr(), reason.len()) };
            std::process::abort()
        }
    }
}

/// `{"of":[...]}` to the element with most bytes, of equals the first. The gateway's JSON has no spaces.
fn longest_of(input: &str) -> Result<String, &'static str> {
    let inside = input
        .strip_prefix("{\"of\":[")
        .and_then(|rest| rest.strip_suffix("]}"));
    let answers = inside
        .and_then(elements)
        .ok_or("the input is not {\"of\": [...]}")?;
    let mut longest = "";
    for answer in answers.into_iter().filter(|answer| *answer != "null") {
        if answer.len() > longest.len() {
            longest = answer;
        }
    }
    if longest.is_empty() {
        return Err("no one answered");
    }
    Ok(longest.to_string())
}

/// The elements of a list, as they are written: split at the commas that are in no string and no inner list or object.
/// None if the list ends before its text does.
fn elements(inside: &str) -> Option<Vec<&str>> {
    let (mut found, mut begin, mut depth, mut quoted, mut escaped) =
        (Vec::new(), 0, 0, false, false);
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth == 0 => return None,
            b']' | b'}' => depth -= 1,
            b',' if depth == 0 => {
                found.push(&inside[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    found.push(&inside[begin..]);
    Some(found)
}
