//! Tables and lines for a width. A word is never broken: where there is no room, columns go, prose is cut, lines end between words.

use registry_common::shown;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Between two columns.
const GAP: usize = 2;
/// How much of its prose a column shows before others go for it.
const PROSE: usize = 16;
/// Ends what is cut, and a head that lacks columns.
const MORE: &str = "…";

/// A column of a table: a name of its own is enough (`"size".into()`).
#[derive(Debug, Clone)]
pub(crate) struct Column {
    head: String,
    kind: Kind,
    rank: Option<usize>,
    wide: bool,
    if_any: bool,
    stays: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Shown whole or not at all, so that it can be copied.
    Word,
    /// Likewise, its last digits below each other.
    Number,
    /// May be cut at its end.
    Prose,
}

impl Column {
    fn new(head: &str, kind: Kind) -> Self {
        Self { head: head.to_uppercase(), kind, rank: None, wide: false, if_any: false, stays: false }
    }

    pub(crate) fn number(head: &'static str) -> Self {
        Self::new(head, Kind::Number)
    }

    /// A value by its path.
    pub(crate) fn path(path: &str) -> Self {
        Self::new(&shown::line(path), Kind::Word)
    }

    pub(crate) fn prose(head: &'static str) -> Self {
        Self::new(head, Kind::Prose)
    }

    /// Where there is no room, the column with the highest rank goes first; that is its position unless it is set. The first
    /// column always stays.
    pub(crate) fn rank(self, rank: usize) -> Self {
        Self { rank: Some(rank), ..self }
    }

    /// Shown also where there is no room: it was asked for.
    pub(crate) fn stays(self) -> Self {
        Self { stays: true, ..self }
    }

    /// Shown only with `-o wide`.
    pub(crate) fn wide(self) -> Self {
        Self { wide: true, ..self }
    }

    /// Shown only where a row has something in it.
    pub(crate) fn if_any(self) -> Self {
        Self { if_any: true, ..self }
    }
}

impl From<&'static str> for Column {
    fn from(head: &'static str) -> Self {
        Self::new(head, Kind::Word)
    }
}

/// A head that is the name of something.
impl From<String> for Column {
    fn from(name: String) -> Self {
        Self { head: shown::line(&name).into_owned(), ..Self::new("", Kind::Word) }
    }
}

/// What room there is for a table, and what of it is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// How many characters a line may have; `None` where there is no terminal.
    pub(crate) width: Option<usize>,
    /// All columns, whatever the width.
    pub(crate) wide: bool,
    pub(crate) headers: bool,
}

/// The lines of a table. If columns are left out, its head ends in `…`.
pub(crate) fn table(columns: &[Column], rows: &[Vec<String>], room: Room) -> Vec<String> {
    let seen: Vec<Vec<_>> = rows.iter().map(|row| row.iter().map(|cell| shown::line(cell)).collect()).collect();
    let cell = |row: usize, column: usize| seen[row].get(column).map_or("", |cell| cell.as_ref());
    let cells = |column: usize| (0..seen.len()).map(move |row| cell(row, column));
    let width_of = |column: usize| {
        let head = if room.headers { columns[column].head.width() } else { 0 };
        cells(column).map(str::width).max().unwrap_or(0).max(head)
    };
    let natural: Vec<_> = (0..columns.len()).map(width_of).collect();
    let mut widths = natural.clone();
    let empty = |column: usize| cells(column).all(str::is_empty);
    let wanted = |column: &usize| {
        let Column { wide, if_any, .. } = &columns[*column];
        (room.wide || !wide) && !(*if_any && empty(*column))
    };
    let mut kept: Vec<_> = (0..columns.len()).filter(wanted).collect();
    let all = kept.len();
    if let Some(width) = room.width.filter(|_| !room.wide) {
        for column in 0..columns.len() {
            if columns[column].kind == Kind::Prose {
                widths[column] = natural[column].min(PROSE);
            }
        }
        let used = |kept: &[usize], widths: &[usize]| {
            let more = if kept.len() < all { GAP + MORE.width() } else { 0 };
            kept.iter().map(|column| widths[*column] + GAP).sum::<usize>() + more
        };
        while used(&kept, &widths) > width + GAP && kept.len() > 1 {
            let rank = |column: usize| (empty(column), columns[column].rank.unwrap_or(column), column);
            let may_go = kept[1..].iter().copied().filter(|column| !columns[*column].stays);
            let Some(goes) = may_go.max_by_key(|column| rank(*column)) else { break };
            kept.retain(|column| *column != goes);
        }
        for column in kept.clone() {
            let spare = (width + GAP).saturating_sub(used(&kept, &widths));
            widths[column] = natural[column].min(widths[column] + spare);
        }
    }
    let line = |text: &dyn Fn(usize) -> String| {
        let padded = kept.iter().map(|column| {
            let text = text(*column);
            let pad = " ".repeat(widths[*column].saturating_sub(text.width()));
            if columns[*column].kind == Kind::Number { pad + &text } else { text + &pad }
        });
        padded.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_owned()
    };
    let mut lines = Vec::with_capacity(seen.len() + 1);
    if room.headers {
        let head = line(&|column| columns[column].head.clone());
        lines.push(if kept.len() < all { format!("{head}  {MORE}") } else { head });
    }
    let text = |row: usize, column: usize| match columns[column].kind {
        Kind::Prose => cut(cell(row, column), widths[column]),
        Kind::Word | Kind::Number => cell(row, column).to_owned(),
    };
    lines.extend((0..seen.len()).map(|row| line(&|column| text(row, column))));
    lines
}

/// A text that is longer than `width` ends there, or after the last word that fits.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let end = end_of(text, width.saturating_sub(MORE.width()));
    let whole = if text[end..].starts_with(' ') { end } else { text[..end].rfind(' ').unwrap_or(end) };
    format!("{}{MORE}", text[..whole].trim_end())
}

/// How many bytes of a text have so many columns of a terminal, or less.
fn end_of(text: &str, width: usize) -> usize {
    let mut used = 0;
    let too_many = |character: char| {
        used += character.width().unwrap_or(0);
        used > width
    };
    text.find(too_many).unwrap_or(text.len())
}

/// A line in lines of `width`, those after the first indented by `hang`. They end between words: a longer word is longer than its line.
pub(crate) fn wrap(line: &str, width: usize, hang: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut current = String::new();
    // The line has a word, and not only its indent.
    let mut begun = false;
    let mut rest = line;
    while !rest.is_empty() {
        let word = rest.find(|character| character != ' ').unwrap_or(rest.len());
        let end = rest[word..].find(' ').map_or(rest.len(), |end| word + end);
        if begun && current.width() + rest[..end].width() > width {
            lines.push(std::mem::replace(&mut current, " ".repeat(hang)));
            current += &rest[word..end];
        } else {
            current += &rest[..end];
        }
        begun = true;
        rest = &rest[end..];
    }
    lines.push(current);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> [Column; 4] {
        [
            "model".into(),
            Column::number("size").rank(1),
            Column::from("framework").rank(2),
            Column::prose("description"),
        ]
    }

    fn rows() -> Vec<Vec<String>> {
        let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        vec![
            row(["breast-cancer", "41.95 KiB", "sklearn", "shallow forest, worse on everything"]),
            row(["b", "1 B", "", "模型"]),
        ]
    }

    fn at(width: usize) -> Vec<String> {
        table(&columns(), &rows(), Room { width: Some(width), wide: false, headers: true })
    }

    #[test]
    fn a_table_without_a_terminal_is_whole() {
        let lines = table(&columns(), &rows(), Room { width: None, wide: false, headers: true });
        let expected = [
            "MODEL               SIZE  FRAMEWORK  DESCRIPTION",
            "breast-cancer  41.95 KiB  sklearn    shallow forest, worse on everything",
            "b                    1 B             模型",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn columns_go_by_their_rank_and_prose_is_cut_before() {
        assert_eq!(at(72)[1], "breast-cancer  41.95 KiB  sklearn    shallow forest, worse on everything");
        assert_eq!(at(71)[1], "breast-cancer  41.95 KiB  sklearn    shallow forest, worse on…");
        let without_description = ["MODEL               SIZE  FRAMEWORK  …", "breast-cancer  41.95 KiB  sklearn"];
        assert_eq!(at(50)[..2], without_description);
        assert_eq!(at(30)[..2], ["MODEL               SIZE  …", "breast-cancer  41.95 KiB"]);
        // Names are whole, whatever the width.
        assert_eq!(at(5), ["MODEL  …", "breast-cancer", "b"]);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_if_the_first_column_is_not() {
        for width in 16..90 {
            assert!(at(width).iter().all(|line| line.width() <= width), "{width}: {:#?}", at(width));
        }
    }

    #[test]
    fn a_column_without_cells_goes_first() {
        let mut columns: [Column; 3] = ["a".into(), "empty".into(), "b".into()];
        let rows = [vec!["1".to_owned(), String::new(), "2".to_owned()]];
        let room = |width| Room { width: Some(width), wide: false, headers: true };
        assert_eq!(table(&columns, &rows, room(9)), ["A  B  …", "1  2"]);
        assert_eq!(table(&columns, &rows, room(11)), ["A  EMPTY  B", "1         2"]);
        columns[1] = columns[1].clone().if_any();
        assert_eq!(table(&columns, &rows, room(11)), ["A  B", "1  2"]);
        columns[2] = columns[2].clone().stays();
        assert_eq!(table(&columns, &rows, room(1)), ["A  B", "1  2"], "it was asked for");
    }

    #[test]
    fn wide_shows_all_columns_and_heads_can_be_left_out() {
        let mut columns = columns();
        columns[2] = columns[2].clone().wide();
        let lines = |wide, headers| table(&columns, &rows(), Room { width: Some(10), wide, headers });
        assert!(lines(true, true)[0].contains("FRAMEWORK  DESCRIPTION"));
        assert_eq!(lines(false, false), ["breast-cancer", "b"]);
        columns[1] = columns[1].clone().if_any();
        let unlimited = table(&columns, &rows(), Room { width: None, wide: false, headers: true });
        assert_eq!(unlimited[0], "MODEL               SIZE  DESCRIPTION");
    }

    #[test]
    fn cells_break_no_row() {
        let row = vec!["a\nb  c".to_owned(), "\u{1b}[8m\u{200b}x".to_owned()];
        let lines = table(&["one".into(), "two".into()], &[row], Room { width: None, wide: false, headers: true });
        assert_eq!(lines, ["ONE      TWO", r"a\nb  c  \u{1b}[8m\u{200b}x"]);
    }

    #[test]
    fn lines_end_between_words() {
        let line = "    74  version.created  fraud/versions/3  by ana";
        assert_eq!(wrap(line, 80, 8), [line]);
        assert_eq!(wrap(line, 30, 8), ["    74  version.created", "        fraud/versions/3  by", "        ana"]);
        assert_eq!(wrap(line, 34, 8), ["    74  version.created", "        fraud/versions/3  by ana"]);
        // A word is never broken.
        assert_eq!(wrap("sha256  0123456789", 8, 2), ["sha256", "  0123456789"]);
        assert_eq!(wrap("", 8, 2), [""]);
    }
}
