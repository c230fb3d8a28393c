//! Words and marks that no text of the repository has: marks of unfinished work, paths of one machine, words that we do not
//! use any more.

use super::source::{code, comments, line_of, literals, words};

/// Words and phrases that texts and names do not have: words of our own, where the field has plain ones.
const WORDS: &[&str] = &[
    "room",
    "rooms",
    "twin",
    "twins",
    "house",
    "houses",
    "door",
    "doors",
    "errand",
    "errands",
    "from nothing",
    "the peers",
    "what it comes to",
    "as one likes",
    "of one's own",
    "patient no more",
    "came back",
    "state_update",
    "micro_laid",
    "way down after",
    "are others than",
    "held to the truth",
    "goes on past",
    "go on past",
    "owes",
    // British spellings of words that code of this kind has.
    "behaviour",
    "colour",
    "initialise",
    "initialised",
    "neighbour",
    "neighbours",
    "normalise",
    "normalised",
    "optimise",
    "optimised",
    "optimiser",
    "serialise",
];

/// Names that code does not have, as whole words: they mislead a reader of the field, or tell nothing.
const NAMES: &[&str] = &[
    "F8",
    "Live",
    "Laid",
    "Lay",
    "Extent",
    "Nobody",
    "Looking",
    "Stand",
    "Given",
    "Real",
    "came_back",
    "land",
    "torch_bench",
    "verify_py",
];

/// Retired words in prose or in the parts of names, whatever their case; a phrase may go over a line's end.
fn retired_words(text: &str) -> Vec<String> {
    let parts = parts(text);
    let mut found = Vec::new();
    for phrase in WORDS {
        let wanted: Vec<&str> = phrase.split([' ', '_', '\'']).collect();
        let places = parts.windows(wanted.len()).filter(|window| window.iter().map(|(part, _)| part).eq(wanted.iter()));
        found.extend(places.map(|window| (window[0].1, *phrase)));
    }
    found.sort();
    found.into_iter().map(|(at, phrase)| format!("line {}: {phrase}", line_of(text, at))).collect()
}

/// The parts of words in lower case, with their places: `ImageTwin` and `image_twin` are image, twin.
fn parts(text: &str) -> Vec<(String, usize)> {
    let mut all: Vec<(String, usize)> = Vec::new();
    let (mut before, mut open) = (' ', false);
    for (i, c) in text.char_indices() {
        if !c.is_alphabetic() {
            open = false;
        } else {
            match all.last_mut().filter(|_| open && !(before.is_lowercase() && c.is_uppercase())) {
                Some((part, _)) => part.extend(c.to_lowercase()),
                None => all.push((c.to_lowercase().collect(), i)),
            }
            open = true;
        }
        before = c;
    }
    all
}

/// A document without the first column of tables whose head is `| not | but |`.
fn without_examples(text: &str) -> String {
    let mut is_example = false;
    let line = |line: &str| {
        is_example = line.starts_with('|') && (is_example || line == "| not | but |");
        let cells = line.splitn(3, '|').nth(2).filter(|_| is_example);
        cells.unwrap_or(line).to_string() + "\n"
    };
    text.lines().map(line).collect()
}

/// Retired words and names of a file. Literals count in `src` alone, but for the words that stories are made of: what a
/// test gives a program, or a story tells, is free.
pub fn retired(path: &str, text: &str) -> Vec<String> {
    if !(path.ends_with(".rs") || path.ends_with(".wgsl")) {
        return retired_words(&without_examples(text));
    }
    let code = code(text);
    let names = NAMES.iter().flat_map(|name| words(&code, name).into_iter().map(move |at| (name, at)));
    let mut all: Vec<String> = names.map(|(name, at)| format!("line {}: {name}", line_of(&code, at))).collect();
    all.extend(retired_words(&code));
    all.extend(retired_words(&comments(text)));
    if path.starts_with("src/") && path != "src/data/synthetic/stories.rs" {
        all.extend(retired_words(&literals(text)));
    }
    all
}

/// Marks of unfinished work. They are written in two halves, so that this file does not hold them.
pub fn unfinished(text: &str) -> Vec<String> {
    let signs = [
        ("TO", "DO"),
        ("FIX", "ME"),
        ("XX", "X"),
        ("to", "do!"),
        ("unimple", "mented!"),
        ("#[ig", "nore"),
        ("db", "g!"),
    ];
    let mut all = Vec::new();
    for sign in signs.map(|(a, b)| format!("{a}{b}")) {
        let found = if sign.starts_with('#') {
            text.match_indices(&sign).map(|(i, _)| i).collect()
        } else if let Some(name) = sign.strip_suffix('!') {
            words(text, name).into_iter().filter(|i| text[i + name.len()..].starts_with('!')).collect()
        } else {
            words(text, &sign)
        };
        all.extend(found.into_iter().map(|i| format!("line {}: {sign}", line_of(text, i))));
    }
    all
}

/// Absolute paths of some machine.
pub fn machine_paths(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for folder in ["home", "root", "work", "Users"] {
        let sign = format!("/{folder}/");
        for (i, _) in text.match_indices(&sign) {
            let before = text[..i].chars().next_back();
            if !before.is_some_and(|c| c.is_alphanumeric() || "._-~}>)".contains(c)) {
                all.push(format!("line {}: {sign}", line_of(text, i)));
            }
        }
    }
    all
}

#[test]
fn unfinished_work_is_seen() {
    let text = ["// TO", "DO later\n    to", "do!()\n#[ig", "nore = \"slow\"]\ndb", "g!(x)"].concat();
    assert_eq!(unfinished(&text).len(), 4, "{:?}", unfinished(&text));
    assert_eq!(unfinished("let method_done = 1; AUTODOC"), [] as [String; 0]);
}

#[test]
fn a_path_of_a_machine_is_seen() {
    let path = |folder: &str| format!("in /{folder}/x");
    assert_eq!(machine_paths(&format!("a\n{}\n{}", path("home"), path("root"))).len(), 2);
    assert_eq!(machine_paths("src/work/x and example.org/home/ and ~/home/"), [] as [String; 0]);
}

#[test]
fn a_retired_word_is_seen() {
    let seen = |path: &str, text: &str| retired(path, text).len();
    assert_eq!(retired("docs/a.md", "Two\nRooms. Trained from\nnothing."), ["line 2: rooms", "line 2: from nothing"]);
    let table = |head: &str| format!("{head}\n| --- | --- |\n| door by door | step by step |\n\ndoor\n");
    assert_eq!(retired("docs/a.md", &table("| not | but |")), ["line 5: door"]);
    assert_eq!(seen("docs/a.md", &table("| a | b |")), 3);
    assert_eq!(seen("docs/a.md", "The colour of neighbours"), 2);
    assert_eq!(seen("docs/a.md", "a roommate indoors, from scratch, nothing from"), 0);
    assert_eq!(
        retired("src/a.rs", "\nfn image_twin(x: ImageTwin) {} // door by door"),
        ["line 2: twin", "line 2: twin", "line 2: door", "line 2: door"]
    );
    assert_eq!(retired("src/a.rs", "struct Live; let live = Aliver;"), ["line 1: Live"]);
    assert_eq!(seen("src/a.rs", "// Live sizes are those of the batch."), 0);
    assert_eq!(seen("src/a.rs", "f(\"no room\")"), 1);
    assert_eq!(seen("tests/it/a.rs", "f(\"the house\")"), 0);
    assert_eq!(seen("src/data/synthetic/stories.rs", "f(\"the house\") // the house"), 1);
    assert_eq!(seen("shaders/a.wgsl", "// Its twin"), 1);
}
