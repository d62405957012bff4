//! Files as people have them, each small and complete, with the countries that are right for them.

use super::{
    super::{overlay, ranges::Collected},
    *,
};

/// What an address's country is by the file, as a source from which `geo import` takes what is good: `-` where it does not
/// say; or why the file is refused.
fn source(name: &str, text: &str, address: &str) -> String {
    let read = match read(Path::new(name), text.as_bytes(), &Progress::default()) {
        Ok(read) => read,
        Err(error) => return error.to_string(),
    };
    let Collected { dataset, .. } = read.ranges.finish().unwrap();
    dataset.lookup(address.parse().unwrap()).map_or_else(|| "-".into(), |range| range.country.to_string())
}

/// The same by the file as an overlay.
fn overlay(name: &str, bytes: &[u8], address: &str) -> String {
    match overlay::read_bytes(Path::new(name), bytes, &Progress::default()) {
        Ok(overlay) => {
            let found = overlay.lookup(address.parse().unwrap());
            found.map_or_else(|| "-".into(), |range| range.country.to_string())
        }
        Err(error) => error.to_string(),
    }
}

fn left_out(text: &str) -> String {
    read(Path::new("t.csv"), text.as_bytes(), &Progress::default()).unwrap().rejected.summary()
}

const CITY: &str = "1.0.1.0,1.0.3.255,AS,CN,Fujian,x,26.0,119.3\n1.0.16.0,1.0.31.255,AS,JP,Tokyo,x,35.6,139.6\n\
                    1.0.128.0,1.0.255.255,AS,SG,Singapore,x,1.3,103.8\n";

#[test]
fn a_column_that_may_hold_continents_is_asked_about_whatever_else_is_in_the_file() {
    let question = "t.csv: does its column 3 hold continents (AS is Asia) or countries (AS is American Samoa)? Name the \
                    columns in the first line, such as start_ip,end_ip,continent,country";
    let other = "2.0.0.0,2.0.0.255,EU,FR,x,,0,0\n3.0.0.0,3.0.0.255,NA,US,x,,0,0\n4.0.0.0,4.0.0.255,SA,BR,x,,0,0\n\
                 5.0.0.0,5.0.0.255,AF,ZA,x,,0,0\n";
    for text in [
        CITY.to_owned(),
        format!("{CITY}{other}"),
        format!("{CITY}1.0.0.0,1.0.0.255,OC,AU,x,,0,0\n"),
        format!("{other}{CITY}1.0.0.0,1.0.0.255,OC,AU,x,,0,0\n6.0.0.0,6.0.0.255,AN,AQ,x,,0,0\n"),
        format!("1.0.9.0,1.0.9.255,AS,,,,0,0\n{CITY}"),
        "1.0.9.0,1.0.9.255,AS,,,,0,0\n".to_owned(),
        "1.0.1.0,1.0.3.255,AS,CN,Fujian,x,26.0,119.3\n".to_owned(),
        format!("0.0.0.0,0.255.255.255,ZZ,ZZ,,,0,0\n{CITY}"),
        CITY.replace(',', "\t"),
        CITY.to_lowercase(),
    ] {
        assert_eq!(source("t.csv", &text, "1.0.1.1"), question, "{text}");
        assert_eq!(overlay("t.csv", text.as_bytes(), "1.0.1.1"), question, "{text}");
    }
    let networks = "1.0.1.0/24,AS,CN,Fujian\n1.0.16.0/20,AS,JP,Tokyo\n";
    assert!(source("t.csv", networks, "1.0.1.1").starts_with("t.csv: does its column 2 hold continents"));
    // With names there is nothing to ask.
    let named = format!("ip_start,ip_end,continent,country,stateprov,city,latitude,longitude\n{CITY}");
    for (address, country) in [("1.0.1.1", "CN"), ("1.0.16.1", "JP"), ("1.0.128.1", "SG")] {
        assert_eq!(source("t.csv", &named, address), country);
    }
}

#[test]
fn countries_whose_codes_are_continents_too_stay_countries() {
    for (text, country) in [
        ("192.0.2.0,192.0.2.255,AS\n", "AS"),
        ("192.0.2.0,192.0.2.255,AS,American Samoa\n", "AS"),
        ("192.0.2.0/24,NA,NA-KH,Windhoek,\n", "NA"),
        ("192.0.2.0/24,SA,,,\n", "SA"),
        ("192.0.2.0,192.0.2.255,AF,AF,x\n", "AF"),
        ("192.0.2.0,192.0.2.255,NA,,\n198.51.100.0,198.51.100.255,DE,,\n", "NA"),
        // In a file of countries one line that may be read both ways is nobody's.
        ("192.0.2.0/24,AS,CN,\n198.51.100.0/24,DE,,\n203.0.113.0/24,FR,,\n", "-"),
    ] {
        assert_eq!(source("t.csv", text, "192.0.2.1"), country, "{text}");
    }
}

#[test]
fn where_a_narrower_line_can_not_be_taken_the_wider_one_does_not_decide() {
    let wide = "5.0.0.0/24,DE,,,\n";
    for narrow in [
        "5.0.0.128/25,USA,,,",
        "5.0.0.128/25,SGP,,,",
        "5.0.0.128/25,Germany,,,",
        "5.0.0.129/25,US,,,",
        "5.0.0.128,5.0.0.255,USA",
        "5.0.0.128-5.0.0.255,USA",
        "\"5.0.0.128/25\",\"USA\"",
        "5.0.0.128/25 USA",
        "5.0.0.128/25",
        "83886208,83886335,USA",
        "x|USA|ipv4|5.0.0.128|128|20260101|allocated",
        "x|US|ipv4|5.0.0.128|128|20260101|legacy",
        "5.0.0.128/25,DE,US-CA,,",
        "5.0.0.128/25,US,,A\u{b}5.0.1.0/24,",
        "{\"network\":\"5.0.0.128/25\",\"country\":\"USA\"}",
    ] {
        let text = format!("{wide}{narrow}\n5.1.0.0/24,FR,,,\n");
        for text in [format!("{wide}{narrow}\n"), text.clone(), text.lines().rev().collect::<Vec<_>>().join("\n")] {
            for (address, as_source, as_overlay) in [("5.0.0.1", "DE", "DE"), ("5.0.0.129", "-", "??")] {
                assert_eq!(source("t.csv", &text, address), as_source, "{text}");
                assert_eq!(overlay("t.csv", text.as_bytes(), address), as_overlay, "{text}");
            }
            assert!(left_out(&text).starts_with("1 left out: 1 "), "{}", left_out(&text));
        }
    }
    // A city in Latin-1.
    let latin = b"5.0.0.0/24,DE,,,\n5.0.0.128/25,US,,M\xfcnster,\n";
    assert_eq!([overlay("t.csv", latin, "5.0.0.1"), overlay("t.csv", latin, "5.0.0.129")], ["DE", "??"]);
}

#[test]
fn a_region_with_a_country_code_of_its_own_is_that_country() {
    for (line, country) in [
        ("NL,NL-CW,Willemstad,", "CW"),
        ("NL,NL-SX,,", "SX"),
        ("FR,FR-PF,,", "PF"),
        ("FR,FR-NC,,", "NC"),
        ("NO,NO-21,,", "SJ"),
        ("US,US-PR,,", "PR"),
        ("us,us-pr,,", "PR"),
        ("US,PR,,", "PR"),
        ("US,US-CA,,", "US"),
        ("DE,DE-BE,Berlin,", "DE"),
        ("DE,US-CA,,", "??"),
        ("NL,,NL-CW,", "NL"),
    ] {
        let text = format!("5.0.0.0/24,{line}\n5.1.0.0/24,DE,,,\n5.2.0.0/24,DE,,,\n");
        assert_eq!(overlay("t.csv", text.as_bytes(), "5.0.0.1"), country, "{line}");
    }
    let named = "start_ip,end_ip,city,region,country\n5.0.0.0,5.0.0.255,Papeete,FR-PF,FR\n5.1.0.0,5.1.0.255,x,PF,FR\n";
    assert_eq!([source("t.csv", named, "5.0.0.1"), source("t.csv", named, "5.1.0.1")], ["PF", "PF"]);
}

#[test]
fn where_the_first_line_names_columns_none_is_guessed() {
    let of = |text: &str| source("t.csv", text, "5.0.0.1");
    for (header, country) in [
        ("ip_prefix,region,alpha2code,city", "US"),
        ("ip_prefix,region,alpha-2,city", "US"),
        ("#ip_prefix,region,alpha2code,city", "US"),
        ("IP Prefix,Region,Country Code,City", "US"),
        ("ip_prefix,country,notes,city", "DE"),
    ] {
        assert_eq!(of(&format!("{header}\n5.0.0.0/24,DE,US,Wilmington\n")), country, "{header}");
    }
    for header in
        ["ip_prefix,region,nation,city", "IPv4-Präfix,region,country,city", "Netz;Land;x;y", "ip_prefix,a,b,c"]
    {
        let refused = of(&format!("{header}\n5.0.0.0/24,DE,US,Wilmington\n"));
        assert!(refused.starts_with("t.csv:1: the first line names no column of "), "{header}: {refused}");
    }
    // Other names further down.
    let two = "network,country\n5.1.0.0/24,DE\nnetwork,region,country\n5.0.0.0/24,DE,US\n";
    assert_eq!(of(two), "t.csv:3: these columns are others than those above: give each table a file of its own");
    // An index before them, as data frames are written.
    assert_eq!(of(",network,country\n0,5.0.0.0/24,DE\n"), "DE");
    assert_eq!(source("de.csv", "network,asn\n5.0.0.0/24,64500\n", "5.0.0.1"), "DE");
    assert_eq!(source("de.csv", "network\n5.0.0.0/24\n", "5.0.0.1"), "DE");
}

#[test]
fn a_line_ends_at_cr_too_and_nothing_behind_it_is_lost() {
    let lines = "# a note\n5.0.0.0/24,DE,,Köln,\n5.1.0.0/24,FR,,,\n5.2.0.0/24,SG,,,\n";
    for text in
        [lines.to_owned(), lines.replace('\n', "\r\n"), lines.replace('\n', "\r"), lines.replacen('\n', "\r", 2)]
    {
        for (address, country) in [("5.0.0.1", "DE"), ("5.1.0.1", "FR"), ("5.2.0.1", "SG")] {
            assert_eq!(source("t.csv", &text, address), country, "{text:?}");
            assert_eq!(overlay("t.csv", text.as_bytes(), address), country, "{text:?}");
        }
    }
}

#[test]
fn ipv4_in_the_notation_of_ipv6_is_ipv4() {
    for line in [
        "::ffff:192.0.2.0/120,DE,,,",
        "::ffff:c000:200/120,DE",
        "::ffff:192.0.2.0,::ffff:192.0.2.255,DE",
        "281473902969344,281473902969599,DE",
        "\"281473902969344\",\"281473902969599\",\"DE\"",
    ] {
        for (address, country) in
            [("192.0.2.0", "DE"), ("192.0.2.255", "DE"), ("192.0.3.0", "-"), ("::ffff:192.0.2.0", "-")]
        {
            assert_eq!(source("t.csv", line, address), country, "{line}");
        }
    }
    // What holds more than that stays what it is.
    assert_eq!(source("t.csv", "0,281474976710655,DE\n", "::1"), "DE");
}

#[test]
fn a_list_that_places_what_carries_ipv4_is_told_to_place_the_ipv4() {
    let says = |network: &str| {
        let text = format!("{network},DE,,,\n5.1.0.0/24,FR,,,\n");
        let overlay = overlay::read_bytes(Path::new("t.csv"), text.as_bytes(), &Progress::default()).unwrap();
        assert_eq!(overlay.rejected.count, 1, "{network}");
        overlay.rejected.kinds["carries IPv4"].examples[0].clone()
    };
    for (network, ipv4) in [
        ("2002:500::/40", "5.0.0.0/24"),
        ("2002:500:1::/48", "5.0.0.1"),
        ("2002:500:1:7::/64", "5.0.0.1"),
        ("64:ff9b::500:0/120", "5.0.0.0/24"),
        ("64:ff9b::5.0.0.1", "5.0.0.1"),
        ("64:ff9b:1::500:0/120", "5.0.0.0/24"),
        ("2002::/16", "those"),
        ("64:ff9b:1::/48", "those"),
        ("2001:0:500::/40", "those"),
    ] {
        let of = network.split('/').next().unwrap().parse::<Ipv6Addr>().unwrap();
        let expected = format!("line 1: {of} carries IPv4 addresses, and where these are decides: write {ipv4}");
        assert_eq!(says(network), expected);
    }
    // Datasets have such ranges, of no effect, and are none the worse.
    let dataset = "2002::/16,US\n5.1.0.0/24,FR\n";
    assert_eq!((source("t.csv", dataset, "5.1.0.1"), left_out(dataset)), ("FR".into(), String::new()));
}

#[test]
fn each_tools_own_shape_is_read() {
    let de = "192.0.2.9";
    for (name, text) in [
        ("t.csv", "192.0.2.0-192.0.2.255,DE\n"),
        ("t.csv", "192.0.2.0 - 192.0.2.255,DE\n"),
        ("t.txt", "192.0.2.0 - 192.0.2.255 DE\n"),
        ("t.csv", "192.0.2.0/24,\tDE,\tBerlin\n"),
        ("t.csv", "192.0.2.0/24;DE;Berlin\n"),
        ("t.csv", ",,,,\n192.0.2.0/24,DE,,,\n,,,,\n;;;\n"),
        ("geo.csv", "\"192.0.2.0\",\"192.0.2.255\",\"3221225984\",\"3221226239\",\"DE\",\"Germany\"\n"),
        ("de.save", "create x hash:net family inet hashsize 1024 maxelem 65536\nadd x 192.0.2.0/24\n"),
        (
            "ipset.save",
            "create country_de hash:net family inet\nadd country_de 192.0.2.0/24\nadd country_sg 5.0.0.0/24\n",
        ),
        (
            "geoip4.nft",
            "map geoip4 {\n\ttype ipv4_addr : mark\n\tflags interval\n\telements = {\n\t\t192.0.2.0-192.0.2.255 : $DE,\n\
             \t\t5.0.0.0/24 : $SG\n\t}\n}\n",
        ),
        ("t.nft", "elements = { 5.0.0.0/24 : $SG, 192.0.2.0/24 : $DE }\n"),
        ("t.nft", "# country: DE\nset x {\nelements = { 5.0.0.0/24, 192.0.2.0/24 }\n}\n"),
        ("t.json", "{\"network\":\"192.0.2.0/24\",\"country\":\"Germany\",\"country_code\":\"DE\"}\n"),
        ("t.json", "{\"start_ip\":\"192.0.2.0\",\"end_ip\":\"192.0.2.255\",\"country\":\"DE\",\"asn\":[1]}\n"),
        ("id_country_de.netset", "192.0.2.0/24\n"),
        ("ip2location_country_de.netset", "192.0.2.0/24\n"),
        ("ipip_country_de.netset", "192.0.2.0/24\n"),
        ("ipv4-de.txt", "192.0.2.0/24\n"),
    ] {
        assert_eq!(source(name, text, de), "DE", "{name} {text}");
        assert_eq!(left_out_of(name, text), "", "{name} {text}");
    }
    assert_eq!(source("uk.zone", "192.0.2.0/24\n", de), "GB");
    // What a mark of a packet stands for nobody knows.
    let marks = "elements = { 192.0.2.0/24 : 0x1, 5.0.0.0/24 : $SG, 6.0.0.0/24 : $SG }\n";
    assert_eq!([source("t.nft", marks, de), left_out_of("t.nft", marks)], ["-", "1 left out: 1 no country code"]);
    // A blank, a colon and a blank in a city's name are no mark.
    assert_eq!(source("t.csv", "192.0.2.0/24,DE,,A : B,\n", de), "DE");
}

fn left_out_of(name: &str, text: &str) -> String {
    read(Path::new(name), text.as_bytes(), &Progress::default()).unwrap().rejected.summary()
}

#[test]
fn numbers_that_a_spreadsheet_rounded_are_told() {
    let good = "42540766411282592856903984951653826560,42540766490510755371168322545197776895,SG\n".repeat(3);
    for rounded in [
        "42540766411282600000000000000000000000,42540766490510800000000000000000000000,SG",
        "4.25407664112826E+37,4.25407664905108E+37,SG",
    ] {
        assert_eq!(left_out(&format!("{good}{rounded}\n")), "1 left out: 1 rounded number", "{rounded}");
    }
    assert_eq!(left_out(&good), "");
    // Through floating point: 2^-53 of it is lost, and each ends where a network begins.
    let floating = "42540766411282592856903984951653826560,42540766490510755371168322545197776896,SG\n";
    assert_eq!(
        source("t.csv", floating, "2001:db8::1"),
        "t.csv: its IPv6 addresses were rounded, as spreadsheets do with long numbers: give the file as its publisher has it"
    );
    assert_eq!(source("t.csv", &format!("{good}{floating}"), "2001:db8::1"), "SG");
}

#[test]
fn an_empty_value_before_the_network_is_one_with_every_separator_and_no_comment() {
    for separator in [",", ";", "\t"] {
        let line = |country: &str, network: &str| format!("{country}{separator}{network}\n");
        let text = line("country", "network") + &line("DE", "192.0.2.0/24") + &line("", "192.0.2.128/25");
        for (address, says) in [("192.0.2.1", "DE"), ("192.0.2.129", "??")] {
            assert_eq!(overlay("t.csv", text.as_bytes(), address), says, "{text:?}");
        }
        assert_eq!(source("t.csv", &text, "192.0.2.129"), "-", "{text:?}");
    }
    // Where nothing stands before the networks a line that begins with ';' is a comment.
    let text = "network;country\n192.0.2.0/24;DE\n;192.0.2.128/25;NO\n";
    assert_eq!(overlay("t.csv", text.as_bytes(), "192.0.2.129"), "DE");
}
