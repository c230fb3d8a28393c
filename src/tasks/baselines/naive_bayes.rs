//! Naive Bayes on words: the multinomial model with add-one smoothing (McCallum and Nigam 1998).

use super::method::Method;
use super::words::words;
use crate::config::{Answers, Task};
use crate::data::batch::Answer;
use crate::tasks::record::{Record, Texts};
use std::collections::HashMap;

struct NaiveBayes {
    /// log P(class)
    priors: Vec<f64>,
    /// log P(word | class), by class. Words that no training example has are left out.
    words: HashMap<String, Vec<f64>>,
}

/// The method, where there is a training example with a known answer.
pub(super) fn method<'a>(task: &Task, train: &[Record]) -> Option<(&'static str, Method<'a>)> {
    let Answers::Labels(labels) = &task.answers else { return None };
    let model = NaiveBayes::new(train, labels.len())?;
    Some(("naive Bayes on words", Box::new(move |texts| Answer::Class(model.class(texts)))))
}

fn words_of(texts: &Texts) -> impl Iterator<Item = String> {
    texts.all().into_iter().flat_map(words).collect::<Vec<_>>().into_iter()
}

impl NaiveBayes {
    fn new(train: &[Record], classes: usize) -> Option<Self> {
        let (mut examples, mut totals) = (vec![0.0; classes], vec![0.0; classes]);
        let mut counts = HashMap::<String, Vec<f64>>::new();
        for record in train {
            let Answer::Class(class) = record.answer else { continue };
            examples[class as usize] += 1.0;
            for word in words_of(&record.texts) {
                totals[class as usize] += 1.0;
                counts.entry(word).or_insert_with(|| vec![0.0; classes])[class as usize] += 1.0;
            }
        }
        let (all, distinct) = (examples.iter().sum::<f64>(), counts.len() as f64);
        let logs = |(count, total): (&f64, &f64)| ((count + 1.0) / (total + distinct)).ln();
        let words = counts.into_iter().map(|(word, n)| (word, n.iter().zip(&totals).map(logs).collect())).collect();
        // A class without examples is never the answer.
        let priors = examples.iter().map(|n| (n / all).ln()).collect();
        (all > 0.0).then_some(NaiveBayes { priors, words })
    }

    fn class(&self, texts: &Texts) -> u32 {
        let mut sums = self.priors.clone();
        for logs in words_of(texts).filter_map(|word| self.words.get(&word)) {
            sums.iter_mut().zip(logs).for_each(|(sum, log)| *sum += log);
        }
        super::regression::largest(&sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_those_computed_by_hand() {
        let example =
            |text: &str, class| Record { line: 1, texts: Texts::Classify(text.into()), answer: Answer::Class(class) };
        let train = [example("a b", 0), example("b b", 1), example("c", 1)];
        let model = NaiveBayes::new(&train, 3).expect("a model");
        assert_eq!(model.priors[..2], [(1f64 / 3.0).ln(), (2f64 / 3.0).ln()]);
        assert_eq!(model.priors[2], f64::NEG_INFINITY);
        // Two words in class 0, three in class 1, none in class 2; three distinct ones.
        assert_eq!(model.words["b"], [(2f64 / 5.0).ln(), (3f64 / 6.0).ln(), (1f64 / 3.0).ln()]);
        assert_eq!(model.class(&Texts::Classify("A a unheard".into())), 0);
        assert_eq!(model.class(&Texts::Classify("c".into())), 1);
    }
}
