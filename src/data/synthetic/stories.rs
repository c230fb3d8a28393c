//! Generated children's stories, from a small grammar and a seed: text to train on without a data set.
//!
//! In every story a character loses a treasured thing, asks others for help, and finds the thing at the end. So there is
//! something to learn at every distance: spelling, word order, the person that "she" refers to, and the thing and its
//! color in the last sentence.

use crate::philox::{Stream, Words};

/// Stories with an empty line between two, as many as fit into `bytes` bytes, and one at least. The same seed gives the
/// same text; a longer text begins with the shorter one.
pub fn stories(seed: u64, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 2048);
    for number in 0u32.. {
        let mut words = Words::new(seed, Stream::Order, number, STORIES);
        let story = Teller { words: &mut words }.story();
        if !text.is_empty() && text.len() + 1 + story.len() > bytes {
            break;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&story);
    }
    text
}

/// The second counter word, different from that of the windows of the same seed, 0.
const STORIES: u32 = 1;

/// The pronouns of the main character.
#[derive(Clone, Copy)]
struct Pronoun {
    he: &'static str,
    capital: &'static str,
    him: &'static str,
    his: &'static str,
}

const SHE: Pronoun = Pronoun { he: "she", capital: "She", him: "her", his: "her" };
const HE: Pronoun = Pronoun { he: "he", capital: "He", him: "him", his: "his" };

const GIRLS: [&str; 20] = [
    "Anna", "Bella", "Clara", "Daisy", "Ella", "Fern", "Greta", "Hazel", "Ivy", "Juna", "Kira", "Lotta", "Mina",
    "Nora", "Olive", "Poppy", "Rosa", "Tilda", "Willa", "Zoe",
];
const BOYS: [&str; 20] = [
    "Arlo", "Ben", "Caspar", "Dan", "Emil", "Finn", "Gus", "Hugo", "Ivan", "Jasper", "Kai", "Leo", "Max", "Nils",
    "Oscar", "Pip", "Rufus", "Sam", "Theo", "Wim",
];
const KINDS: [&str; 10] =
    ["girl", "mouse", "rabbit", "fox", "bear", "hedgehog", "duck", "kitten", "squirrel", "badger"];
const TRAITS: [&str; 10] =
    ["little", "brave", "curious", "quiet", "cheerful", "clever", "gentle", "shy", "busy", "kind"];
const COLORS: [&str; 9] = ["red", "blue", "green", "yellow", "white", "silver", "golden", "purple", "striped"];
const THINGS: [&str; 14] = [
    "ball", "kite", "scarf", "drum", "boat", "bell", "lantern", "button", "hat", "spoon", "marble", "basket",
    "whistle", "ribbon",
];
const GIVERS: [&str; 7] = ["grandmother", "grandfather", "aunt", "uncle", "best friend", "big sister", "big brother"];
const HOMES: [&str; 10] = [
    "in a small house by the river",
    "at the edge of a deep wood",
    "on top of a windy hill",
    "behind the old mill",
    "in a village by the sea",
    "under the roots of a tall oak",
    "next to the baker's shop",
    "at the end of a long lane",
    "beside a round pond",
    "near the bridge of stones",
];
const PLACES: [&str; 10] =
    ["meadow", "garden", "market", "forest", "beach", "orchard", "harbour", "park", "valley", "field"];
const MORNINGS: [&str; 9] = [
    "One sunny morning",
    "One rainy day",
    "One cold winter morning",
    "On the first day of spring",
    "One windy afternoon",
    "On a warm summer day",
    "Early one morning",
    "One misty autumn day",
    "After breakfast one day",
];
const GAMES: [&str; 8] = [
    "to look for berries",
    "to pick flowers",
    "to climb a tree",
    "to watch the clouds",
    "to jump over puddles",
    "to count the birds",
    "to gather shells and stones",
    "to fly with the wind",
];
const LOSSES: [&str; 6] = [
    "But a gust of wind came, and the {thing} was gone",
    "But on the way the {thing} slipped away without a sound",
    "When it was time to go home, the {thing} was nowhere to be seen",
    "Then a loud noise came from the bushes, and the {thing} was lost in the hurry",
    "But after a short rest in the grass, the {thing} was missing",
    "Then a cheeky magpie flew down and took the {thing} away",
];
const FEELINGS: [&str; 6] = [
    "felt very sad",
    "began to cry",
    "looked left and right",
    "did not know what to do",
    "sat down and sighed",
    "searched and searched",
];
const HELPERS: [&str; 14] = [
    "an old owl",
    "a friendly frog",
    "a grey goose",
    "a tired donkey",
    "a tiny ant",
    "a jolly baker",
    "a wise turtle",
    "a singing lark",
    "a sleepy cat",
    "a gardener",
    "a busy beaver",
    "a young deer",
    "a fisherman",
    "a round hen",
];
const NOT_SEEN: [&str; 6] = [
    "I have not seen it, but I will help you look",
    "No, but two can search better than one",
    "I am sorry, it did not come this way",
    "Not today, but let us look together",
    "No, but do not give up",
    "I have only seen leaves and stones",
];
const SPOTS: [&str; 10] = [
    "under a bush",
    "behind a big stone",
    "in a hollow tree",
    "on a high branch",
    "beside the stream",
    "in the tall grass",
    "under the bridge",
    "on top of a fence",
    "between two roots",
    "in a nest of straw",
];
const FINDS: [&str; 4] = [
    "I can see something {color} {spot}",
    "There is something {color} {spot}",
    "Look, what is that {color} thing {spot}",
    "Something {color} is shining {spot}",
];
const THANKS: [&str; 5] = [
    "Thank you, thank you",
    "Thank you with all my heart",
    "You are a true friend",
    "How can I ever thank you",
    "What would I do without you",
];
const LESSONS: [&str; 6] = [
    "From that day on they were friends",
    "They shared a warm pie before the sun went down",
    "They laughed all the way home",
    "They danced until the stars came out",
    "They sat together and sang a song",
    "They promised to meet again the next day",
];

struct Teller<'a> {
    words: &'a mut Words,
}

impl Teller<'_> {
    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from[self.words.below(from.len() as u32) as usize]
    }

    /// One of `from` other than `but`, so that the two helpers of a story differ.
    fn pick_other(&mut self, from: &[&'static str], but: &str) -> &'static str {
        let first = self.words.below(from.len() as u32) as usize;
        if from[first] == but { from[(first + 1) % from.len()] } else { from[first] }
    }

    /// True with a probability of `percent` in a hundred.
    fn chance(&mut self, percent: u32) -> bool {
        self.words.below(100) < percent
    }

    fn story(&mut self) -> String {
        let girl = self.chance(50);
        let (pronoun, name) = if girl { (SHE, self.pick(&GIRLS)) } else { (HE, self.pick(&BOYS)) };
        let kind = match self.pick(&KINDS) {
            "girl" if !girl => "boy",
            kind => kind,
        };
        let Pronoun { he, capital, him, his } = pronoun;
        let (nature, home, giver) = (self.pick(&TRAITS), self.pick(&HOMES), self.pick(&GIVERS));
        let (color, thing) = (self.pick(&COLORS), self.pick(&THINGS));
        let (place, morning, game) = (self.pick(&PLACES), self.pick(&MORNINGS), self.pick(&GAMES));
        let mut story = String::with_capacity(1500);
        let mut say = |sentence: String| {
            if !story.is_empty() && !story.ends_with('\n') {
                story.push(' ');
            }
            story.push_str(&sentence);
        };

        say(match self.words.below(3) {
            0 => format!("Once upon a time there was a {nature} {kind} named {name}."),
            1 => format!("There once was a {nature} {kind} whose name was {name}."),
            _ => format!("{name} was a {nature} {kind}."),
        });
        say(format!("{capital} lived {home}."));
        say(match self.words.below(3) {
            0 => format!("{name} had a {color} {thing}, a present from {his} {giver}."),
            1 => format!("Of all things {he} loved {his} {color} {thing} the most."),
            _ => format!("{capital} had a {color} {thing} and took it everywhere."),
        });
        if self.chance(40) {
            say(format!("At night the {thing} lay next to {his} bed."));
        }
        say(format!("{morning}, {name} went to the {place} {game}.\n"));

        say(format!("{}.", self.pick(&LOSSES).replace("{thing}", &format!("{color} {thing}"))));
        say(format!("{name} {}.", self.pick(&FEELINGS)));
        say(match self.words.below(3) {
            0 => format!("\"Where is my {thing}?\" {he} asked."),
            1 => format!("\"Oh no, my {color} {thing}!\" cried {name}."),
            _ => format!("\"I must find it,\" {he} said to {him}self."),
        });
        say(format!("So {he} set out to search the whole {place}.\n"));

        let first = self.pick(&HELPERS);
        let (_, first_noun) = first.split_once(' ').unwrap_or(("", first));
        say(format!("First {he} met {first}."));
        say(format!("\"Have you seen a {color} {thing}?\" asked {name}."));
        say(format!("\"{},\" said the {first_noun}.", self.pick(&NOT_SEEN)));
        if self.chance(50) {
            say(format!("{name} thanked the {first_noun} and walked on."));
        }
        let last = self.pick_other(&HELPERS, first);
        let (_, last_noun) = last.split_once(' ').unwrap_or(("", last));
        let spot = self.pick(&SPOTS);
        say(format!("Then {he} met {last}."));
        say(format!("\"Please help me,\" said {name}. \"I have lost my {color} {thing}.\""));
        let find = self.pick(&FINDS).replace("{color}", color).replace("{spot}", spot);
        let mark = if find.starts_with("Look") { "?" } else { "!" };
        let verb = if mark == "?" { "asked" } else { "called" };
        say(format!("\"{find}{mark}\" {verb} the {last_noun}.\n"));

        say(match self.words.below(3) {
            0 => format!("{name} ran as fast as {he} could."),
            1 => format!("{name} went closer, step by step."),
            _ => format!("{name} looked {spot}, and {his} heart jumped."),
        });
        say(format!("It was the {color} {thing}!"));
        let thanks = self.pick(&THANKS);
        let mark = if thanks.starts_with("How") || thanks.starts_with("What") { "?" } else { "!" };
        say(format!("\"{thanks}{mark}\" {he} said to the {last_noun}."));
        say(format!("{}.", self.pick(&LESSONS)));
        say(match self.words.below(3) {
            0 => format!("And {name} never lost {his} {color} {thing} again.\n"),
            1 => format!("That night {name} slept well, with the {color} {thing} in {his} arms.\n"),
            _ => format!("And so {name} came home with {his} {color} {thing}.\n"),
        });
        story
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_depends_on_its_seed_and_has_the_requested_length() {
        let text = stories(7, 100_000);
        assert_eq!(text, stories(7, 100_000));
        assert_ne!(text, stories(8, 100_000));
        assert!(text.len() <= 100_000 && text.len() > 97_000, "{}", text.len());
        assert!(stories(7, 200_000).starts_with(&text), "a longer text begins with the same stories");
        assert!(!stories(7, 0).is_empty());
    }

    #[test]
    fn the_last_sentence_names_the_character_and_the_thing() {
        let text = stories(1, 200_000);
        let mut heroes = std::collections::BTreeSet::new();
        for story in text.split("\n\n") {
            let lines: Vec<&str> = story.trim_end().lines().collect();
            assert_eq!(lines.len(), 4, "{story}");
            let end = lines[3].trim_end().rsplit_once(". ").expect("sentences").1;
            let name = GIRLS.iter().chain(&BOYS).find(|name| end.contains(**name)).expect(story);
            let girl = GIRLS.contains(name);
            assert!(lines[0].contains(if girl { "She lived" } else { "He lived" }), "{story}");
            assert!(!lines[0].contains(if girl { " boy " } else { " girl " }), "{story}");
            let thing = THINGS.iter().find(|thing| end.contains(&format!(" {thing}"))).expect(story);
            assert!(lines[..3].iter().all(|line| line.contains(thing)), "{story}");
            assert!(!story.contains('{') && !story.contains("  ") && !story.contains(" a old"), "{story}");
            heroes.insert(name);
        }
        assert!(heroes.len() > 30);
    }
}
