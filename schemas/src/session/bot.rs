//! Programs that visit pages, known by the user agent that they give.

/// Words of crawlers, previews and browsers without a window, in lower case. No browser of a person has one of them.
const WORDS: [&str; 13] = [
    "bot", // Googlebot, bingbot, AdsBot, GPTBot, and nearly all others
    "crawl",
    "spider",
    "slurp",
    "headless",
    "lighthouse",
    "pagespeed",
    "pingdom",
    "phantomjs",
    "facebookexternalhit",
    "mediapartners",
    "google-read-aloud",
    "ptst/", // WebPageTest
];
/// A maker of telephones, whose name ends like a robot's.
const NO_BOT: &str = "cubot";

/// Whether a user agent is a program's.
pub(super) fn is_bot(user_agent: &str) -> bool {
    let text = user_agent.to_ascii_lowercase().replace(NO_BOT, "");
    WORDS.iter().any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::is_bot;

    #[test]
    fn programs_are_told_from_people() {
        for (user_agent, expected) in [
            ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", true),
            ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/141.0.0.0 Safari/537.36", true),
            ("facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)", true),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
                false,
            ),
            (
                "Mozilla/5.0 (Linux; Android 13; CUBOT P80) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile Safari/537.36",
                false,
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 [FBAN/FBIOS;FBAV/490.0.0;FBDV/iPhone15,2]",
                false,
            ),
            ("", false),
        ] {
            assert_eq!(is_bot(user_agent), expected, "{user_agent}");
        }
    }
}
