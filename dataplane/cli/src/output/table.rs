//! Tables without borders, with two spaces between columns.
//!
//! comfy-table measures and aligns the text, so that wide and combining characters keep their
//! columns. The colors are added here: those of comfy-table need its `tty` feature and crossterm.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table as ColumnLayout};

use super::Paint;

/// Spaces between two columns.
const GAP: usize = 2;

/// Color of a cell. Has no effect on plain output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    #[default]
    Plain,
    Good,
    Warn,
    Bad,
}

/// Text of one line, with its color.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A colored cell. Control characters are replaced: a line break would shift the rows, and an
    /// escape sequence could change the terminal.
    pub(crate) fn toned(text: impl Into<String>, tone: Tone) -> Self {
        let mut text = text.into();
        if text.contains(char::is_control) {
            text = text.replace(char::is_control, "\u{fffd}");
        }
        Self { text, tone }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::toned(text, Tone::Plain)
    }
}

/// A table of text.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    row_count: usize,
}

#[derive(Debug)]
struct Column {
    alignment: CellAlignment,
    head: Cell,
    cells: Vec<Cell>,
}

impl Table {
    /// A table with these column heads; a head that starts with `>` makes the column
    /// right-aligned.
    pub(crate) fn new(heads: &[&str]) -> Self {
        let column = |head: &&str| Column {
            alignment: if head.starts_with('>') {
                CellAlignment::Right
            } else {
                CellAlignment::Left
            },
            head: head.trim_start_matches('>').into(),
            cells: Vec::new(),
        };
        Self {
            columns: heads.iter().map(column).collect(),
            row_count: 0,
        }
    }

    /// Adds a row. Missing cells are empty.
    pub(crate) fn row<C: Into<Cell>>(&mut self, cells: impl IntoIterator<Item = C>) {
        let mut cells = cells.into_iter().map(Into::into);
        for column in &mut self.columns {
            column.cells.push(cells.next().unwrap_or_default());
        }
        self.row_count += 1;
    }

    /// The lines of the table, each indented by `indent` spaces.
    pub(crate) fn render(&self, paint: Paint, indent: usize) -> String {
        let columns: Vec<Vec<Aligned>> = self.columns.iter().map(Column::aligned).collect();
        let has_head = self
            .columns
            .iter()
            .any(|column| !column.head.text.is_empty());
        let mut out = String::new();
        for row in usize::from(!has_head)..=self.row_count {
            let mut line = String::new();
            // Spaces are written before the next text only, so lines have no trailing spaces.
            let mut pending = 0;
            for cell in columns.iter().filter_map(|column| column.get(row)) {
                pending += cell.before;
                if !cell.text.is_empty() {
                    line.push_str(&" ".repeat(pending));
                    line.push_str(&cell.painted(paint, row == 0));
                    pending = 0;
                }
                pending += cell.after + GAP;
            }
            out.push_str(&" ".repeat(indent));
            out.push_str(&line);
            out.push('\n');
        }
        out
    }
}

/// A cell's text with the spaces that fill its column.
struct Aligned<'a> {
    before: usize,
    text: &'a str,
    after: usize,
    tone: Tone,
}

impl Aligned<'_> {
    fn painted(&self, paint: Paint, is_head: bool) -> String {
        let text = self.text;
        if is_head {
            return paint.faint(text).to_string();
        }
        match self.tone {
            Tone::Plain => text.to_owned(),
            Tone::Good => paint.good(text).to_string(),
            Tone::Warn => paint.warn(text).to_string(),
            Tone::Bad => paint.bad(text).to_string(),
        }
    }
}

impl Column {
    /// The head and the cells, each as wide as the widest of them.
    fn aligned(&self) -> Vec<Aligned<'_>> {
        let mut layout = ColumnLayout::new();
        layout.load_style(NOTHING);
        let all = || std::iter::once(&self.head).chain(&self.cells);
        for cell in all() {
            layout.add_row([&cell.text]);
        }
        if let Some(column) = layout.column_mut(0) {
            column.set_padding((0, 0));
            column.set_cell_alignment(self.alignment);
        }
        let aligned = |(cell, line): (&'_ Cell, String)| {
            let before = line.find(&cell.text).unwrap_or(0);
            let after = line.len().saturating_sub(before + cell.text.len());
            (before, after)
        };
        let fills: Vec<_> = all().zip(layout.lines()).map(aligned).collect();
        all()
            .zip(fills)
            .map(|(cell, (before, after))| Aligned {
                before,
                text: &cell.text,
                after,
                tone: cell.tone,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_have_no_trailing_spaces() {
        let mut table = Table::new(&["NAME", ">COUNT", "STATE"]);
        table.row(["a", "7", "ok"]);
        table.row(["longer", "12,345"]);
        table.row(["", "", "alone"]);
        assert_eq!(
            table.render(Paint::plain(), 1),
            " NAME     COUNT  STATE\n a            7  ok\n longer  12,345\n                 alone\n"
        );
    }

    #[test]
    fn a_table_without_heads_has_no_head_line() {
        let mut table = Table::new(&["", ""]);
        table.row(["a", "b"]);
        assert_eq!(table.render(Paint::plain(), 0), "a  b\n");
    }

    #[test]
    fn wide_and_combining_characters_keep_their_columns() {
        let mut table = Table::new(&["NAME", ">SIZE"]);
        // Two columns per ideograph and per emoji, even if it is a sequence of several code points.
        table.row(["日本語", "1"]);
        table.row(["👩\u{200d}🔬 lab", "22"]);
        // "é" as two code points has the width of one.
        table.row(["cafe\u{301}", "333"]);
        table.row(["plain", "四"]);
        assert_eq!(
            table.render(Paint::plain(), 0),
            "NAME    SIZE\n\
             日本語     1\n\
             👩\u{200d}🔬 lab    22\n\
             cafe\u{301}     333\n\
             plain     四\n"
        );
    }

    #[test]
    fn spaces_at_the_ends_of_a_cell_are_kept_and_control_characters_are_replaced() {
        let mut table = Table::new(&["A", "B"]);
        table.row([" x", "\u{1b}[31mred\n"]);
        table.row(["yyy", "z"]);
        assert_eq!(
            table.render(Paint::plain(), 0),
            "A    B\n x   \u{fffd}[31mred\u{fffd}\nyyy  z\n"
        );
    }

    #[test]
    fn colors_do_not_change_the_alignment() {
        let mut table = Table::new(&["A", "B"]);
        table.row([Cell::toned("ok", Tone::Good), "x".into()]);
        table.row([Cell::toned("failed", Tone::Bad), "y".into()]);
        assert_eq!(
            table.render(Paint::always(), 0),
            "\u{1b}[2mA\u{1b}[0m       \u{1b}[2mB\u{1b}[0m\n\
             \u{1b}[32mok\u{1b}[0m      x\n\
             \u{1b}[31mfailed\u{1b}[0m  y\n"
        );
    }
}
