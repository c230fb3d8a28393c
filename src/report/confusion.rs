//! The confusion table of a classification task; for many labels, a list of the most frequent mistakes.

use super::table::{Align, Table};
use crate::terminal::shortened;

/// The largest number of labels that get a column each.
const MAX_COLUMNS: usize = 12;
/// Length of the list of mistakes.
const MAX_MISTAKES: usize = 20;

/// Most characters of a label that are shown.
const LONGEST_LABEL: usize = 40;

/// The table of `counts[right label][predicted label]`. Rows are the right labels, columns the predicted ones; the last
/// column is the share of right predictions in the row.
pub fn confusion_table(labels: &[String], counts: &[Vec<u64>]) -> Table {
    let labels: Vec<_> = labels.iter().map(|label| shortened(label, LONGEST_LABEL)).collect();
    let name = |i: usize| labels.get(i).map_or("", |label| &**label);
    if labels.len() > MAX_COLUMNS {
        let mut table = Table::new(&[("right", Align::Left), ("given", Align::Left), ("times", Align::Right)]);
        let cells = counts.iter().enumerate().flat_map(|(t, row)| row.iter().enumerate().map(move |(p, n)| (t, p, *n)));
        let mut mistakes: Vec<_> = cells.filter(|(t, p, n)| t != p && *n > 0).collect();
        mistakes.sort_by_key(|(_, _, n)| std::cmp::Reverse(*n));
        for (t, p, n) in mistakes.into_iter().take(MAX_MISTAKES) {
            table.row([name(t).to_string(), name(p).to_string(), n.to_string()]);
        }
        return table;
    }
    let mut heads = vec![("right \\ given", Align::Left)];
    heads.extend(labels.iter().map(|label| (&**label, Align::Right)));
    heads.push(("right", Align::Right));
    let mut table = Table::new(&heads);
    for (t, row) in counts.iter().enumerate() {
        let all: u64 = row.iter().sum();
        let share = row.get(t).filter(|_| all > 0).map(|hits| format!("{:.1} %", 100.0 * *hits as f64 / all as f64));
        let cells = std::iter::once(name(t).to_string()).chain(row.iter().map(u64::to_string));
        // A label without examples has no share.
        table.row(cells.chain([share.unwrap_or_else(|| "–".into())]));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_right_labels_and_columns_predicted_ones() {
        let labels = ["CONTRADICTION", "no", "yes"].map(String::from);
        let table = confusion_table(&labels, &[vec![30, 5, 0], vec![1, 200, 19], vec![0, 0, 0]]);
        let expected = "\
right \\ given  CONTRADICTION   no  yes   right
─────────────  ─────────────  ───  ───  ──────
CONTRADICTION             30    5    0  85.7 %
no                         1  200   19  90.9 %
yes                        0    0    0       –
";
        assert_eq!(table.to_string(), expected);
        let long = confusion_table(&["x".repeat(9000), "no".into()], &[vec![1, 2], vec![0, 9]]).to_string();
        assert!(long.contains(&format!("{}…  ", "x".repeat(40))) && long.len() < 1000, "{long}");
    }

    #[test]
    fn many_labels_are_a_list_of_mistakes() {
        let labels: Vec<String> = (0..13).map(|i| format!("label {i}")).collect();
        let mut counts = vec![vec![0; 13]; 13];
        (counts[1][1], counts[2][12], counts[3][0]) = (9, 4, 7);
        let expected = "\
right    given     times
───────  ────────  ─────
label 3  label 0       7
label 2  label 12      4
";
        assert_eq!(confusion_table(&labels, &counts).to_string(), expected);
    }
}
