//! A date of birth as Meta wants it: `YYYYMMDD`, from 1900 to today.

use jiff::civil::{Date, date};

use crate::time::Time;

/// A date of birth: `YYYYMMDD`, year-month-day with any separator, month/day/year, or day/month/year when the first number is no
/// month.
pub fn date_of_birth(text: &str, today: Time) -> Option<String> {
    let born = calendar_date(text.trim())?;
    let today = jiff::Timestamp::from_microsecond(today.micros()).ok()?.to_zoned(jiff::tz::TimeZone::UTC).date();
    (date(1900, 1, 1)..=today).contains(&born).then(|| format!("{:04}{:02}{:02}", born.year(), born.month(), born.day()))
}

fn calendar_date(text: &str) -> Option<Date> {
    if text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit()) {
        return civil(&text[..4], &text[4..6], &text[6..]);
    }
    let mut parts = text.split(|c: char| !c.is_alphanumeric());
    let (first, second, third) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    match (first.len(), third.len()) {
        (4, 1..=2) => civil(first, second, third),
        (1..=2, 4) if first.parse::<u8>().ok()? > 12 => civil(third, second, first),
        (1..=2, 4) => civil(third, first, second),
        _ => None,
    }
}

fn civil(year: &str, month: &str, day: &str) -> Option<Date> {
    Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn born_today_is_possible_and_born_tomorrow_is_not() {
        let today: Time = "2026-11-25T23:59:59Z".parse().expect("a time");
        for (text, born) in [
            ("2026-11-25", Some("20261125")),
            ("2026-11-26", None),
            ("1900-01-01", Some("19000101")),
            ("29.2.2000", Some("20000229")),
            ("29.2.2001", None),
            ("1997-02-16T00:00", None),
            ("+997-2-16", None),
            ("16//1997", None),
            ("２/16/1997", None),
        ] {
            assert_eq!(date_of_birth(text, today).as_deref(), born, "{text}");
        }
    }
}
