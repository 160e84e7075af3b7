//! Plain columns, for people and for `awk`.

/// How a column is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Renders rows under a header, two spaces apart, nothing behind the last column.
pub(super) fn render(columns: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let header = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|i| {
            rows.iter()
                .chain([&header])
                .map(|row: &Vec<String>| row[i].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for row in [&header].into_iter().chain(rows) {
        let cells = row.iter().zip(columns).zip(&widths);
        let line: Vec<String> = cells
            .map(|((cell, (_, align)), width)| match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            })
            .collect();
        out.push_str(line.join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let columns = [
            ("NAME", Align::Left),
            ("SIZE", Align::Right),
            ("NOTE", Align::Left),
        ];
        let rows = [
            vec!["été".to_owned(), "1".to_owned(), String::new()],
            vec!["a".to_owned(), "12345".to_owned(), "x".to_owned()],
        ];
        assert_eq!(
            render(&columns, &rows),
            "NAME   SIZE  NOTE\nété       1\na     12345  x\n"
        );
    }
}
