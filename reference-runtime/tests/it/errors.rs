//! The published table of error codes and the code that gives them: neither has what the other has
//! not.

use std::collections::BTreeSet;
use std::path::Path;

use regex::Regex;

/// HTTP status and code.
type Pairs = BTreeSet<(u16, i32)>;

/// What the gateway's files pair up. A code alone (`with_code`) stands for a refusal with status 400.
fn given() -> Pairs {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gateway");
    let pair = Regex::new(r"StatusCode::([A-Z_]+),\s*(-32\d+)").unwrap();
    let alone = Regex::new(r"with_code\((-32\d+)\)").unwrap();
    let any = Regex::new(r"-32\d{3}\b").unwrap();
    let (mut pairs, mut codes) = (Pairs::new(), BTreeSet::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "rs") {
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        // Neither what a file says of itself nor what its tests expect.
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let text: Vec<&str> = lines.take_while(|line| *line != "#[cfg(test)]").collect();
        let text = text.join("\n");
        for found in pair.captures_iter(&text) {
            pairs.insert((status(&found[1]), found[2].parse().unwrap()));
        }
        for found in alone.captures_iter(&text) {
            pairs.insert((400, found[1].parse().unwrap()));
        }
        codes.extend(any.find_iter(&text).map(|it| it.as_str().parse::<i32>().unwrap()));
    }
    let paired: BTreeSet<i32> = pairs.iter().map(|(_, code)| *code).collect();
    assert_eq!(paired, codes, "a code stands in the source without a status beside it");
    pairs
}

fn status(name: &str) -> u16 {
    match name {
        "BAD_REQUEST" => 400,
        "UNAUTHORIZED" => 401,
        "FORBIDDEN" => 403,
        "NOT_FOUND" => 404,
        "METHOD_NOT_ALLOWED" => 405,
        "REQUEST_TIMEOUT" => 408,
        "PAYLOAD_TOO_LARGE" => 413,
        "UNSUPPORTED_MEDIA_TYPE" => 415,
        "TOO_MANY_REQUESTS" => 429,
        "REQUEST_HEADER_FIELDS_TOO_LARGE" => 431,
        "INTERNAL_SERVER_ERROR" => 500,
        "SERVICE_UNAVAILABLE" => 503,
        // No row of the table has it: the comparison shows it.
        _ => 0,
    }
}

/// What the table says.
fn published() -> Pairs {
    let table = include_str!("../../../docs/errors.md");
    let row = Regex::new(r"(?m)^\| ([0-9, ]+) \| (-32\d+) \|").unwrap();
    let rows = row.captures_iter(table).flat_map(|found| {
        let code: i32 = found[2].parse().unwrap();
        let statuses = found[1].split(", ").map(|it| it.parse::<u16>().unwrap());
        statuses.map(move |status| (status, code)).collect::<Vec<_>>()
    });
    rows.collect()
}

#[test]
fn the_table_of_error_codes_and_the_code_say_the_same() {
    let (given, published) = (given(), published());
    let missing: Vec<_> = given.difference(&published).collect();
    assert!(missing.is_empty(), "docs/errors.md does not have {missing:?}");
    let unknown: Vec<_> = published.difference(&given).collect();
    assert!(unknown.is_empty(), "docs/errors.md has {unknown:?}, and nothing gives it");
    assert!(given.len() > 10);
}
