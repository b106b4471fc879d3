//! A script's text into its lines, or into sentences that say which line is wrong and what was expected.

use super::{Line, What};
use crate::fault::{Fault, Kind};
use crate::latency::Law;
use crate::pixel::{TokenState, is_id};

const LINES_MAX: usize = 1_000;
/// So many bad lines are named; who has more reads the manual first.
const PROBLEMS_MAX: usize = 10;

/// Every line of a script, without blank ones and comments.
pub(super) fn lines(text: &str) -> Result<Vec<Line>, String> {
    if text.lines().count() > LINES_MAX {
        return Err(format!("a script has at most {LINES_MAX} lines"));
    }
    let meant = text.lines().enumerate().map(|(index, line)| (index + 1, line.split('#').next().unwrap_or_default().trim()));
    let read =
        meant.filter(|(_, line)| !line.is_empty()).map(|(number, line)| one(number, line).map_err(|why| format!("line {number}: {why}")));
    let (good, bad): (Vec<_>, Vec<_>) = read.partition(Result::is_ok);
    if bad.is_empty() {
        return Ok(good.into_iter().flatten().collect());
    }
    let problems: Vec<String> = bad.into_iter().filter_map(Result::err).take(PROBLEMS_MAX).collect();
    Err(problems.join("\n"))
}

fn one(number: usize, text: &str) -> Result<Line, String> {
    let mut words = Words(text.split_whitespace());
    let (from_ms, to_ms) = stretch(&mut words)?;
    let pixel = match words.next("\"pixel ID\" or \"all\"")? {
        "all" => None,
        "pixel" => Some(words.next("the pixel's id")?)
            .filter(|id| is_id(id))
            .map(str::to_owned)
            .map(Some)
            .ok_or("a pixel's id is 1 to 32 digits")?,
        other => return Err(expected("\"pixel ID\" or \"all\"", other)),
    };
    let what = match words.next("what happens: token, latency, budget or a fault")? {
        "token" => What::Token(token(words.next(TOKEN_STATES)?)?),
        "latency" => What::Latency(law(&mut words)?),
        "budget" => What::Budget(number_of(words.next("calls per minute")?, "calls per minute, a number")?),
        kind => What::Fault(fault(kind, pixel.clone(), &mut words)?),
    };
    match words.0.next() {
        None => Ok(Line { number, text: text.to_owned(), from_ms, to_ms, pixel, what }),
        Some(more) => Err(expected("the end of the line", more)),
    }
}

fn stretch(words: &mut Words) -> Result<(u64, Option<u64>), String> {
    const STRETCH: &str = "a stretch such as 30s..5m, or \"from 5m\"";
    let first = words.next(STRETCH)?;
    if first == "from" {
        return Ok((time(words.next(TIME)?)?, None));
    }
    let (from, to) = first.split_once("..").ok_or_else(|| expected(STRETCH, first))?;
    let (from_ms, to_ms) = (time(from)?, time(to)?);
    if from_ms >= to_ms {
        return Err(format!("a stretch ends after it began, {first:?} does not"));
    }
    Ok((from_ms, Some(to_ms)))
}

const TOKEN_STATES: &str = "the token's state: valid, expired, revoked or forbidden";

fn token(word: &str) -> Result<TokenState, String> {
    match word {
        "valid" => Ok(TokenState::Valid),
        "expired" => Ok(TokenState::Expired),
        "revoked" => Ok(TokenState::Revoked),
        "forbidden" => Ok(TokenState::Forbidden),
        other => Err(expected(TOKEN_STATES, other)),
    }
}

fn law(words: &mut Words) -> Result<Law, String> {
    const LAWS: &str = "\"constant 120ms\", \"uniform 50ms..400ms\" or \"lognormal median 120ms p95 900ms\"";
    let law = match words.next(LAWS)? {
        "constant" => Law::Constant { ms: time(words.next(TIME)?)? },
        "uniform" => {
            let range = words.next("a range such as 50ms..400ms")?;
            let (from, to) = range.split_once("..").ok_or_else(|| expected("a range such as 50ms..400ms", range))?;
            Law::Uniform { from_ms: time(from)?, to_ms: time(to)? }
        }
        "lognormal" => {
            words.exactly("median")?;
            let median_ms = time(words.next(TIME)?)?;
            words.exactly("p95")?;
            Law::Lognormal { median_ms, p95_ms: time(words.next(TIME)?)? }
        }
        other => return Err(expected(LAWS, other)),
    };
    law.problem().map_or(Ok(law), Err)
}

/// A fault and its fields, by the names they have in JSON.
fn fault(kind: &str, pixel: Option<String>, words: &mut Words) -> Result<Fault, String> {
    let kind: Kind = serde_json::from_value(kind.into()).map_err(|_| expected("token, latency, budget or the name of a fault", kind))?;
    let mut fault = Fault { pixel, ..Fault::of(kind) };
    while let Some(field) = words.0.next() {
        let mut value = || words.next(&format!("a value for {field}"));
        match field {
            "ms" => fault.ms = Some(number_of(value()?, "milliseconds, a number")?),
            "after" => fault.after = Some(number_of(value()?, "requests, a number")?),
            "times" => fault.times = Some(number_of(value()?, "requests, a number")?),
            "share" => fault.share = Some(number_of(value()?, "a share from 0 to 1")?),
            "code" => fault.code = Some(number_of(value()?, "an error code, a number")?),
            "subcode" => fault.subcode = Some(number_of(value()?, "a subcode, a number")?),
            "status" => fault.status = Some(number_of(value()?, "an HTTP status from 400 to 599")?),
            "usage" => fault.usage = Some(number_of(value()?, "percent, a number")?),
            "regain_minutes" => fault.regain_minutes = Some(number_of(value()?, "minutes, a number")?),
            "retry_after_s" => fault.retry_after_s = Some(number_of(value()?, "seconds, a number")?),
            "transient" => fault.transient = Some(number_of(value()?, "true or false")?),
            "code_as_text" => fault.code_as_text = Some(number_of(value()?, "true or false")?),
            other => {
                let fields =
                    "ms, after, times, share, code, subcode, status, transient, code_as_text, usage, regain_minutes or retry_after_s";
                return Err(expected(fields, other));
            }
        }
    }
    fault.problem().map_or(Ok(fault), |problem| Err(problem.to_owned()))
}

const TIME: &str = "a time such as 500ms, 30s, 5m, 2h or 1d12h";

/// `1d12h` and the like into milliseconds.
fn time(text: &str) -> Result<u64, String> {
    let mut rest = text;
    let mut sum = Some(0_u64);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = match &rest[digits..digits + letters] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(expected(TIME, text)),
        };
        let count: Option<u64> = rest[..digits].parse().ok();
        sum = sum.zip(count).and_then(|(sum, count)| sum.checked_add(count.checked_mul(unit)?));
        rest = &rest[digits + letters..];
    }
    sum.filter(|_| !text.is_empty()).ok_or_else(|| expected(TIME, text))
}

fn number_of<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, String> {
    text.parse().map_err(|_| expected(what, text))
}

fn expected(what: &str, found: &str) -> String {
    format!("expected {what}, found {found:?}")
}

/// The words of a line that are not read yet.
struct Words<'a>(std::str::SplitWhitespace<'a>);

impl<'a> Words<'a> {
    fn next(&mut self, what: &str) -> Result<&'a str, String> {
        self.0.next().ok_or_else(|| format!("expected {what}, found the end of the line"))
    }

    fn exactly(&mut self, word: &str) -> Result<(), String> {
        let found = self.next(&format!("{word:?}"))?;
        if found == word { Ok(()) } else { Err(expected(&format!("{word:?}"), found)) }
    }
}

#[cfg(test)]
mod tests {
    use super::{What, lines, time};
    use crate::fault::{Fault, Kind};
    use crate::latency::Law;
    use crate::pixel::TokenState;

    #[test]
    fn every_kind_of_line_is_read() {
        let of_42 = |kind| Fault { pixel: Some("42".to_owned()), ..Fault::of(kind) };
        for (text, from_ms, to_ms, what) in [
            (
                "0s..30s pixel 42 throttle code 80004 usage 100",
                0,
                Some(30_000),
                What::Fault(Fault { code: Some(80_004), usage: Some(100), ..of_42(Kind::Throttle) }),
            ),
            ("  1m30s..1h  pixel 42  reset_before   # gone\t", 90_000, Some(3_600_000), What::Fault(of_42(Kind::ResetBefore))),
            (
                "from 0s pixel 42 slow ms 1600 share 0.25 times 3 after 10",
                0,
                None,
                What::Fault(Fault { ms: Some(1_600), share: Some(0.25), times: Some(3), after: Some(10), ..of_42(Kind::Slow) }),
            ),
            ("2m..5d pixel 42 token revoked", 120_000, Some(432_000_000), What::Token(TokenState::Revoked)),
            ("from 5d pixel 42 token forbidden", 432_000_000, None, What::Token(TokenState::Forbidden)),
            ("from 5ms pixel 42 latency constant 120ms", 5, None, What::Latency(Law::Constant { ms: 120 })),
            ("from 0s pixel 42 latency uniform 50ms..1s", 0, None, What::Latency(Law::Uniform { from_ms: 50, to_ms: 1_000 })),
            (
                "from 0s pixel 42 latency lognormal median 120ms p95 900ms",
                0,
                None,
                What::Latency(Law::Lognormal { median_ms: 120, p95_ms: 900 }),
            ),
            ("from 0s pixel 42 budget 200", 0, None, What::Budget(200)),
        ] {
            let read = lines(text).expect(text);
            assert_eq!((read[0].from_ms, read[0].to_ms, &read[0].what), (from_ms, to_ms, &what), "{text}");
            assert_eq!(read[0].pixel.as_deref(), Some("42"));
        }
        let read = lines("# a comment\n\n0s..1s all html500\n").expect("a good script");
        assert_eq!((read.len(), read[0].number, read[0].pixel.as_deref()), (1, 3, None));
    }

    #[test]
    fn a_bad_line_is_named_with_what_was_expected() {
        for (text, expected) in [
            ("pixel 42 http500", "expected a stretch such as 30s..5m, or \"from 5m\", found \"pixel\""),
            ("5..9 all http500", "expected a time such as 500ms, 30s, 5m, 2h or 1d12h, found \"5\""),
            ("1m..1m all http500", "a stretch ends after it began, \"1m..1m\" does not"),
            ("from", "expected a time such as 500ms, 30s, 5m, 2h or 1d12h, found the end of the line"),
            ("from 0s", "expected \"pixel ID\" or \"all\", found the end of the line"),
            ("from 0s 42 http500", "expected \"pixel ID\" or \"all\", found \"42\""),
            ("from 0s pixel shop http500", "a pixel's id is 1 to 32 digits"),
            ("from 0s all", "expected what happens: token, latency, budget or a fault, found the end of the line"),
            ("from 0s all flood", "expected token, latency, budget or the name of a fault, found \"flood\""),
            ("from 0s all slow ms", "expected a value for ms, found the end of the line"),
            ("from 0s all slow ms 1s", "expected milliseconds, a number, found \"1s\""),
            ("from 0s all slow share 2", "share goes from 0 to 1"),
            ("from 0s all http500 status 200", "status goes from 400 to 599"),
            (
                "from 0s all slow pace 9",
                "expected ms, after, times, share, code, subcode, status, transient, code_as_text, usage, regain_minutes or retry_after_s, found \"pace\"",
            ),
            ("from 0s all token stolen", "expected the token's state: valid, expired, revoked or forbidden, found \"stolen\""),
            ("from 0s all token valid now", "expected the end of the line, found \"now\""),
            (
                "from 0s all latency 9ms",
                "expected \"constant 120ms\", \"uniform 50ms..400ms\" or \"lognormal median 120ms p95 900ms\", found \"9ms\"",
            ),
            ("from 0s all latency lognormal p95 9ms", "expected \"median\", found \"p95\""),
            ("from 0s all latency uniform 9ms..2ms", "from 9 ms to 2 ms is no range"),
            ("from 0s all latency constant 2m", "answers are held 60000 ms at most, not 120000 ms"),
            ("from 0s all budget many", "expected calls per minute, a number, found \"many\""),
        ] {
            assert_eq!(lines(&format!("\n{text}")), Err(format!("line 2: {expected}")));
        }
        let two = lines("from 0s all flood\nfrom 0s all http500\nfrom 0s all").expect_err("refused");
        assert_eq!(two.lines().map(|line| &line[..7]).collect::<Vec<_>>(), ["line 1:", "line 3:"], "each bad line is named");
        assert!(lines(&"#\n".repeat(1_001)).is_err());
        assert_eq!(lines(&"x\n".repeat(1_000)).expect_err("refused").lines().count(), 10, "but not without end");
    }

    #[test]
    fn times_add_up_and_never_overflow() {
        assert_eq!(time("1d2h3m4s5ms"), Ok(93_784_005));
        assert_eq!(time("0s"), Ok(0));
        for bad in ["", "s", "5", "-5s", "5x", "5 s", "1.5h", "99999999999999999999d", "300000000000d", "µs"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
