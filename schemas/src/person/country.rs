//! A country: ISO 3166-1, by code or by English name, with its calling code (ITU-T E.164).

use std::{collections::HashMap, fmt, sync::LazyLock};

use unicode_normalization::UnicodeNormalization;

/// A country that ISO 3166-1 lists.
#[derive(Clone, Copy)]
pub struct Country(&'static Row);

impl Country {
    /// The country of an alpha-2 code, an alpha-3 code or an English name; case, accents and punctuation do not matter.
    pub fn parse(text: &str) -> Option<Self> {
        let folded: String = text.replace('&', "and").nfd().filter(|c| c.is_alphabetic()).flat_map(char::to_lowercase).collect();
        INDEX.get(&*folded).or_else(|| INDEX.get(folded.strip_prefix("the")?)).copied().map(Self)
    }

    /// The alpha-2 code in lower case.
    pub fn code(&self) -> &'static str {
        self.0.0
    }

    /// The calling code, where there is one.
    pub(super) fn calling_code(self) -> Option<&'static str> {
        (!self.0.2.is_empty()).then_some(self.0.2)
    }

    /// The United States, whose postal codes have a rule of their own.
    pub(super) fn is_us(self) -> bool {
        self.code() == "us"
    }
}

impl PartialEq for Country {
    fn eq(&self, other: &Self) -> bool {
        self.code() == other.code()
    }
}

impl Eq for Country {}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Alpha-2, alpha-3, calling code, and English names in lower-case letters without accents, divided by `|`.
type Row = (&'static str, &'static str, &'static str, &'static str);

/// Every code and name, made on first use.
static INDEX: LazyLock<HashMap<&'static str, &'static Row>> = LazyLock::new(|| {
    let texts = |row: &'static Row| [row.0, row.1].into_iter().chain(row.3.split('|')).map(move |text| (text, row));
    let uk = COUNTRIES.iter().find(|row| row.0 == "gb").map(|row| ("uk", row)); // what people write; ISO keeps it free for this
    COUNTRIES.iter().flat_map(texts).chain(uk).collect()
});

#[rustfmt::skip] // one country a line
const COUNTRIES: &[Row] = &[
    ("ad", "and", "376", "andorra|principalityofandorra"),
    ("ae", "are", "971", "unitedarabemirates"),
    ("af", "afg", "93", "afghanistan|islamicrepublicofafghanistan"),
    ("ag", "atg", "1", "antiguaandbarbuda"),
    ("ai", "aia", "1", "anguilla"),
    ("al", "alb", "355", "albania|republicofalbania"),
    ("am", "arm", "374", "armenia|republicofarmenia"),
    ("ao", "ago", "244", "angola|republicofangola"),
    ("aq", "ata", "", "antarctica"),
    ("ar", "arg", "54", "argentina|argentinerepublic"),
    ("as", "asm", "1", "americansamoa"),
    ("at", "aut", "43", "austria|republicofaustria"),
    ("au", "aus", "61", "australia"),
    ("aw", "abw", "297", "aruba"),
    ("ax", "ala", "358", "alandislands"),
    ("az", "aze", "994", "azerbaijan|republicofazerbaijan"),
    ("ba", "bih", "387", "bosniaandherzegovina|republicofbosniaandherzegovina|bosnia"),
    ("bb", "brb", "1", "barbados"),
    ("bd", "bgd", "880", "bangladesh|peoplesrepublicofbangladesh"),
    ("be", "bel", "32", "belgium|kingdomofbelgium"),
    ("bf", "bfa", "226", "burkinafaso"),
    ("bg", "bgr", "359", "bulgaria|republicofbulgaria"),
    ("bh", "bhr", "973", "bahrain|kingdomofbahrain"),
    ("bi", "bdi", "257", "burundi|republicofburundi"),
    ("bj", "ben", "229", "benin|republicofbenin"),
    ("bl", "blm", "590", "saintbarthelemy|stbarthelemy"),
    ("bm", "bmu", "1", "bermuda"),
    ("bn", "brn", "673", "bruneidarussalam|brunei"),
    ("bo", "bol", "591", "boliviaplurinationalstateof|bolivia|plurinationalstateofbolivia"),
    ("bq", "bes", "599", "bonairesinteustatiusandsaba|caribbeannetherlands"),
    ("br", "bra", "55", "brazil|federativerepublicofbrazil"),
    ("bs", "bhs", "1", "bahamas|commonwealthofthebahamas"),
    ("bt", "btn", "975", "bhutan|kingdomofbhutan"),
    ("bv", "bvt", "", "bouvetisland"),
    ("bw", "bwa", "267", "botswana|republicofbotswana"),
    ("by", "blr", "375", "belarus|republicofbelarus"),
    ("bz", "blz", "501", "belize"),
    ("ca", "can", "1", "canada"),
    ("cc", "cck", "61", "cocoskeelingislands|cocosislands"),
    ("cd", "cod", "243", "congothedemocraticrepublicofthe|congokinshasa|democraticrepublicofthecongo|drcongo"),
    ("cf", "caf", "236", "centralafricanrepublic"),
    ("cg", "cog", "242", "congo|republicofthecongo|congobrazzaville"),
    ("ch", "che", "41", "switzerland|swissconfederation"),
    ("ci", "civ", "225", "cotedivoire|republicofcotedivoire|ivorycoast"),
    ("ck", "cok", "682", "cookislands"),
    ("cl", "chl", "56", "chile|republicofchile"),
    ("cm", "cmr", "237", "cameroon|republicofcameroon"),
    ("cn", "chn", "86", "china|peoplesrepublicofchina"),
    ("co", "col", "57", "colombia|republicofcolombia"),
    ("cr", "cri", "506", "costarica|republicofcostarica"),
    ("cu", "cub", "53", "cuba|republicofcuba"),
    ("cv", "cpv", "238", "caboverde|republicofcaboverde|capeverde"),
    ("cw", "cuw", "599", "curacao"),
    ("cx", "cxr", "61", "christmasisland"),
    ("cy", "cyp", "357", "cyprus|republicofcyprus"),
    ("cz", "cze", "420", "czechia|czechrepublic"),
    ("de", "deu", "49", "germany|federalrepublicofgermany"),
    ("dj", "dji", "253", "djibouti|republicofdjibouti"),
    ("dk", "dnk", "45", "denmark|kingdomofdenmark"),
    ("dm", "dma", "1", "dominica|commonwealthofdominica"),
    ("do", "dom", "1", "dominicanrepublic"),
    ("dz", "dza", "213", "algeria|peoplesdemocraticrepublicofalgeria"),
    ("ec", "ecu", "593", "ecuador|republicofecuador"),
    ("ee", "est", "372", "estonia|republicofestonia"),
    ("eg", "egy", "20", "egypt|arabrepublicofegypt"),
    ("eh", "esh", "212", "westernsahara"),
    ("er", "eri", "291", "eritrea|stateoferitrea"),
    ("es", "esp", "34", "spain|kingdomofspain"),
    ("et", "eth", "251", "ethiopia|federaldemocraticrepublicofethiopia"),
    ("fi", "fin", "358", "finland|republicoffinland"),
    ("fj", "fji", "679", "fiji|republicoffiji"),
    ("fk", "flk", "500", "falklandislandsmalvinas|falklandislands|falklands"),
    ("fm", "fsm", "691", "micronesiafederatedstatesof|federatedstatesofmicronesia|micronesia"),
    ("fo", "fro", "298", "faroeislands"),
    ("fr", "fra", "33", "france|frenchrepublic"),
    ("ga", "gab", "241", "gabon|gaboneserepublic"),
    ("gb", "gbr", "44", "unitedkingdom|unitedkingdomofgreatbritainandnorthernireland|greatbritain|britain|england|scotland|wales|northernireland"),
    ("gd", "grd", "1", "grenada"),
    ("ge", "geo", "995", "georgia"),
    ("gf", "guf", "594", "frenchguiana"),
    ("gg", "ggy", "44", "guernsey"),
    ("gh", "gha", "233", "ghana|republicofghana"),
    ("gi", "gib", "350", "gibraltar"),
    ("gl", "grl", "299", "greenland"),
    ("gm", "gmb", "220", "gambia|republicofthegambia"),
    ("gn", "gin", "224", "guinea|republicofguinea"),
    ("gp", "glp", "590", "guadeloupe"),
    ("gq", "gnq", "240", "equatorialguinea|republicofequatorialguinea"),
    ("gr", "grc", "30", "greece|hellenicrepublic"),
    ("gs", "sgs", "", "southgeorgiaandthesouthsandwichislands|southgeorgiaandsouthsandwichislands"),
    ("gt", "gtm", "502", "guatemala|republicofguatemala"),
    ("gu", "gum", "1", "guam"),
    ("gw", "gnb", "245", "guineabissau|republicofguineabissau"),
    ("gy", "guy", "592", "guyana|republicofguyana"),
    ("hk", "hkg", "852", "hongkong|hongkongspecialadministrativeregionofchina|hongkongsarchina"),
    ("hm", "hmd", "", "heardislandandmcdonaldislands|heardandmcdonaldislands"),
    ("hn", "hnd", "504", "honduras|republicofhonduras"),
    ("hr", "hrv", "385", "croatia|republicofcroatia"),
    ("ht", "hti", "509", "haiti|republicofhaiti"),
    ("hu", "hun", "36", "hungary"),
    ("id", "idn", "62", "indonesia|republicofindonesia"),
    ("ie", "irl", "353", "ireland"),
    ("il", "isr", "972", "israel|stateofisrael"),
    ("im", "imn", "44", "isleofman"),
    ("in", "ind", "91", "india|republicofindia"),
    ("io", "iot", "246", "britishindianoceanterritory"),
    ("iq", "irq", "964", "iraq|republicofiraq"),
    ("ir", "irn", "98", "iranislamicrepublicof|iran|islamicrepublicofiran"),
    ("is", "isl", "354", "iceland|republicoficeland"),
    ("it", "ita", "39", "italy|italianrepublic"),
    ("je", "jey", "44", "jersey"),
    ("jm", "jam", "1", "jamaica"),
    ("jo", "jor", "962", "jordan|hashemitekingdomofjordan"),
    ("jp", "jpn", "81", "japan"),
    ("ke", "ken", "254", "kenya|republicofkenya"),
    ("kg", "kgz", "996", "kyrgyzstan|kyrgyzrepublic"),
    ("kh", "khm", "855", "cambodia|kingdomofcambodia"),
    ("ki", "kir", "686", "kiribati|republicofkiribati"),
    ("km", "com", "269", "comoros|unionofthecomoros"),
    ("kn", "kna", "1", "saintkittsandnevis|stkittsandnevis"),
    ("kp", "prk", "850", "koreademocraticpeoplesrepublicof|northkorea|democraticpeoplesrepublicofkorea"),
    ("kr", "kor", "82", "korearepublicof|southkorea|korea|republicofkorea"),
    ("kw", "kwt", "965", "kuwait|stateofkuwait"),
    ("ky", "cym", "1", "caymanislands"),
    ("kz", "kaz", "7", "kazakhstan|republicofkazakhstan"),
    ("la", "lao", "856", "laopeoplesdemocraticrepublic|laos"),
    ("lb", "lbn", "961", "lebanon|lebaneserepublic"),
    ("lc", "lca", "1", "saintlucia|stlucia"),
    ("li", "lie", "423", "liechtenstein|principalityofliechtenstein"),
    ("lk", "lka", "94", "srilanka|democraticsocialistrepublicofsrilanka"),
    ("lr", "lbr", "231", "liberia|republicofliberia"),
    ("ls", "lso", "266", "lesotho|kingdomoflesotho"),
    ("lt", "ltu", "370", "lithuania|republicoflithuania"),
    ("lu", "lux", "352", "luxembourg|grandduchyofluxembourg"),
    ("lv", "lva", "371", "latvia|republicoflatvia"),
    ("ly", "lby", "218", "libya"),
    ("ma", "mar", "212", "morocco|kingdomofmorocco"),
    ("mc", "mco", "377", "monaco|principalityofmonaco"),
    ("md", "mda", "373", "moldovarepublicof|moldova|republicofmoldova"),
    ("me", "mne", "382", "montenegro"),
    ("mf", "maf", "590", "saintmartinfrenchpart|stmartin"),
    ("mg", "mdg", "261", "madagascar|republicofmadagascar"),
    ("mh", "mhl", "692", "marshallislands|republicofthemarshallislands"),
    ("mk", "mkd", "389", "northmacedonia|republicofnorthmacedonia|macedonia"),
    ("ml", "mli", "223", "mali|republicofmali"),
    ("mm", "mmr", "95", "myanmar|republicofmyanmar|myanmarburma|burma"),
    ("mn", "mng", "976", "mongolia"),
    ("mo", "mac", "853", "macao|macaospecialadministrativeregionofchina|macaosarchina"),
    ("mp", "mnp", "1", "northernmarianaislands|commonwealthofthenorthernmarianaislands"),
    ("mq", "mtq", "596", "martinique"),
    ("mr", "mrt", "222", "mauritania|islamicrepublicofmauritania"),
    ("ms", "msr", "1", "montserrat"),
    ("mt", "mlt", "356", "malta|republicofmalta"),
    ("mu", "mus", "230", "mauritius|republicofmauritius"),
    ("mv", "mdv", "960", "maldives|republicofmaldives"),
    ("mw", "mwi", "265", "malawi|republicofmalawi"),
    ("mx", "mex", "52", "mexico|unitedmexicanstates"),
    ("my", "mys", "60", "malaysia"),
    ("mz", "moz", "258", "mozambique|republicofmozambique"),
    ("na", "nam", "264", "namibia|republicofnamibia"),
    ("nc", "ncl", "687", "newcaledonia"),
    ("ne", "ner", "227", "niger|republicoftheniger"),
    ("nf", "nfk", "672", "norfolkisland"),
    ("ng", "nga", "234", "nigeria|federalrepublicofnigeria"),
    ("ni", "nic", "505", "nicaragua|republicofnicaragua"),
    ("nl", "nld", "31", "netherlands|kingdomofthenetherlands|holland"),
    ("no", "nor", "47", "norway|kingdomofnorway"),
    ("np", "npl", "977", "nepal|federaldemocraticrepublicofnepal"),
    ("nr", "nru", "674", "nauru|republicofnauru"),
    ("nu", "niu", "683", "niue"),
    ("nz", "nzl", "64", "newzealand"),
    ("om", "omn", "968", "oman|sultanateofoman"),
    ("pa", "pan", "507", "panama|republicofpanama"),
    ("pe", "per", "51", "peru|republicofperu"),
    ("pf", "pyf", "689", "frenchpolynesia"),
    ("pg", "png", "675", "papuanewguinea|independentstateofpapuanewguinea"),
    ("ph", "phl", "63", "philippines|republicofthephilippines"),
    ("pk", "pak", "92", "pakistan|islamicrepublicofpakistan"),
    ("pl", "pol", "48", "poland|republicofpoland"),
    ("pm", "spm", "508", "saintpierreandmiquelon|stpierreandmiquelon"),
    ("pn", "pcn", "", "pitcairn|pitcairnislands"),
    ("pr", "pri", "1", "puertorico"),
    ("ps", "pse", "970", "palestinestateof|stateofpalestine|palestinianterritories|palestine"),
    ("pt", "prt", "351", "portugal|portugueserepublic"),
    ("pw", "plw", "680", "palau|republicofpalau"),
    ("py", "pry", "595", "paraguay|republicofparaguay"),
    ("qa", "qat", "974", "qatar|stateofqatar"),
    ("re", "reu", "262", "reunion"),
    ("ro", "rou", "40", "romania"),
    ("rs", "srb", "381", "serbia|republicofserbia"),
    ("ru", "rus", "7", "russianfederation|russia"),
    ("rw", "rwa", "250", "rwanda|rwandeserepublic"),
    ("sa", "sau", "966", "saudiarabia|kingdomofsaudiarabia"),
    ("sb", "slb", "677", "solomonislands"),
    ("sc", "syc", "248", "seychelles|republicofseychelles"),
    ("sd", "sdn", "249", "sudan|republicofthesudan"),
    ("se", "swe", "46", "sweden|kingdomofsweden"),
    ("sg", "sgp", "65", "singapore|republicofsingapore"),
    ("sh", "shn", "290", "sainthelenaascensionandtristandacunha|sthelena"),
    ("si", "svn", "386", "slovenia|republicofslovenia"),
    ("sj", "sjm", "47", "svalbardandjanmayen"),
    ("sk", "svk", "421", "slovakia|slovakrepublic"),
    ("sl", "sle", "232", "sierraleone|republicofsierraleone"),
    ("sm", "smr", "378", "sanmarino|republicofsanmarino"),
    ("sn", "sen", "221", "senegal|republicofsenegal"),
    ("so", "som", "252", "somalia|federalrepublicofsomalia"),
    ("sr", "sur", "597", "suriname|republicofsuriname"),
    ("ss", "ssd", "211", "southsudan|republicofsouthsudan"),
    ("st", "stp", "239", "saotomeandprincipe|democraticrepublicofsaotomeandprincipe"),
    ("sv", "slv", "503", "elsalvador|republicofelsalvador"),
    ("sx", "sxm", "1", "sintmaartendutchpart|sintmaarten"),
    ("sy", "syr", "963", "syrianarabrepublic|syria"),
    ("sz", "swz", "268", "eswatini|kingdomofeswatini|swaziland"),
    ("tc", "tca", "1", "turksandcaicosislands"),
    ("td", "tcd", "235", "chad|republicofchad"),
    ("tf", "atf", "", "frenchsouthernterritories"),
    ("tg", "tgo", "228", "togo|togoleserepublic"),
    ("th", "tha", "66", "thailand|kingdomofthailand"),
    ("tj", "tjk", "992", "tajikistan|republicoftajikistan"),
    ("tk", "tkl", "690", "tokelau"),
    ("tl", "tls", "670", "timorleste|democraticrepublicoftimorleste|easttimor"),
    ("tm", "tkm", "993", "turkmenistan"),
    ("tn", "tun", "216", "tunisia|republicoftunisia"),
    ("to", "ton", "676", "tonga|kingdomoftonga"),
    ("tr", "tur", "90", "turkiye|republicofturkiye|turkey"),
    ("tt", "tto", "1", "trinidadandtobago|republicoftrinidadandtobago"),
    ("tv", "tuv", "688", "tuvalu"),
    ("tw", "twn", "886", "taiwanprovinceofchina|taiwan"),
    ("tz", "tza", "255", "tanzaniaunitedrepublicof|tanzania|unitedrepublicoftanzania"),
    ("ua", "ukr", "380", "ukraine"),
    ("ug", "uga", "256", "uganda|republicofuganda"),
    ("um", "umi", "", "unitedstatesminoroutlyingislands|usoutlyingislands"),
    ("us", "usa", "1", "unitedstates|unitedstatesofamerica|america"),
    ("uy", "ury", "598", "uruguay|easternrepublicofuruguay"),
    ("uz", "uzb", "998", "uzbekistan|republicofuzbekistan"),
    ("va", "vat", "39", "holyseevaticancitystate|vaticancity|vatican"),
    ("vc", "vct", "1", "saintvincentandthegrenadines|stvincentandgrenadines"),
    ("ve", "ven", "58", "venezuelabolivarianrepublicof|venezuela|bolivarianrepublicofvenezuela"),
    ("vg", "vgb", "1", "virginislandsbritish|britishvirginislands"),
    ("vi", "vir", "1", "virginislandsus|virginislandsoftheunitedstates|usvirginislands"),
    ("vn", "vnm", "84", "vietnam|socialistrepublicofvietnam"),
    ("vu", "vut", "678", "vanuatu|republicofvanuatu"),
    ("wf", "wlf", "681", "wallisandfutuna"),
    ("ws", "wsm", "685", "samoa|independentstateofsamoa"),
    ("ye", "yem", "967", "yemen|republicofyemen"),
    ("yt", "myt", "262", "mayotte"),
    ("za", "zaf", "27", "southafrica|republicofsouthafrica"),
    ("zm", "zmb", "260", "zambia|republicofzambia"),
    ("zw", "zwe", "263", "zimbabwe|republicofzimbabwe"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_country_is_found_by_code_and_by_name() {
        for (text, code) in [
            ("de", Some("de")),
            ("DEU", Some("de")),
            ("The Netherlands", Some("nl")),
            ("Côte d’Ivoire", Some("ci")),
            ("Trinidad & Tobago", Some("tt")),
            ("Türkiye", Some("tr")),
            ("St. Lucia", Some("lc")),
            ("uk", Some("gb")),
            ("EU", None),
            ("", None),
            ("the", None),
            ("1", None),
        ] {
            assert_eq!(Country::parse(text).map(|c| c.code()), code, "{text}");
        }
    }

    #[test]
    fn no_code_or_name_means_two_countries() {
        let names: usize = COUNTRIES.iter().map(|row| 2 + row.3.split('|').count()).sum();
        assert_eq!(INDEX.len(), names + 1, "every code and name once, and uk");
        assert_eq!(COUNTRIES.len(), 249);
    }
}
