//! Formats numbers, counts and durations for people.

/// A number with thousands separators: "1,369,738".
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun: "1 epoch", "2 epochs", "3 classes".
pub fn counted(number: u64, thing: &str) -> String {
    let plural = match (number, thing.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{} {thing}{plural}", grouped(number))
}

/// A duration: "4.2 s", "42 s", "3 min 20 s", "2 h 5 min".
#[cfg(any(feature = "report", test))]
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1000, 1_369_738].map(grouped), ["0", "999", "1,000", "1,369,738"]);
    }

    #[test]
    fn times_are_short() {
        let said = [4.24, 42.4, 59.9, 65.0, 3600.0, 7384.0].map(duration);
        assert_eq!(said, ["4.2 s", "42 s", "1 min 0 s", "1 min 5 s", "1 h 0 min", "2 h 3 min"]);
    }

    #[test]
    fn one_thing_has_no_plural() {
        assert_eq!([1, 2].map(|n| counted(n, "class")), ["1 class", "2 classes"]);
        assert_eq!([0, 1, 1000].map(|n| counted(n, "step")), ["0 steps", "1 step", "1,000 steps"]);
    }
}
