//! The shop's words: names of people, and things worth searching for.

/// First names, with their form in an e-mail address.
pub(crate) const FIRST_NAMES: &[(&str, &str)] = &[
    ("Ada", "ada"),
    ("Amara", "amara"),
    ("Anna", "anna"),
    ("Ben", "ben"),
    ("Bruno", "bruno"),
    ("Carla", "carla"),
    ("Chidi", "chidi"),
    ("Dora", "dora"),
    ("Elif", "elif"),
    ("Emil", "emil"),
    ("Fatima", "fatima"),
    ("Felix", "felix"),
    ("Grace", "grace"),
    ("Hana", "hana"),
    ("Ines", "ines"),
    ("Ivan", "ivan"),
    ("Jonas", "jonas"),
    ("José", "jose"),
    ("Kofi", "kofi"),
    ("Lena", "lena"),
    ("Linh", "linh"),
    ("Maja", "maja"),
    ("Mateo", "mateo"),
    ("Nora", "nora"),
    ("Olga", "olga"),
    ("Omar", "omar"),
    ("Priya", "priya"),
    ("Rosa", "rosa"),
    ("Søren", "soren"),
    ("Tariq", "tariq"),
    ("Yuki", "yuki"),
    ("Zoë", "zoe"),
];

/// Family names, with their form in an e-mail address.
pub(crate) const FAMILY_NAMES: &[(&str, &str)] = &[
    ("Abebe", "abebe"),
    ("Andersen", "andersen"),
    ("Bauer", "bauer"),
    ("Brown", "brown"),
    ("Costa", "costa"),
    ("Demir", "demir"),
    ("Dubois", "dubois"),
    ("Fischer", "fischer"),
    ("García", "garcia"),
    ("Haddad", "haddad"),
    ("Ito", "ito"),
    ("Jensen", "jensen"),
    ("Kowalska", "kowalska"),
    ("Lopez", "lopez"),
    ("Mensah", "mensah"),
    ("Moreau", "moreau"),
    ("Müller", "mueller"),
    ("Nguyen", "nguyen"),
    ("Novak", "novak"),
    ("O'Brien", "obrien"),
    ("Okafor", "okafor"),
    ("Patel", "patel"),
    ("Rossi", "rossi"),
    ("Sato", "sato"),
    ("Silva", "silva"),
    ("Smith", "smith"),
    ("Tanaka", "tanaka"),
    ("Virtanen", "virtanen"),
    ("Weber", "weber"),
    ("Zhang", "zhang"),
];

/// Where customers live.
pub(crate) const REGIONS: &[&str] =
    &["africa", "americas", "asia", "europe-north", "europe-south", "oceania"];

/// What a thing looks like.
pub(crate) const LOOKS: &[&str] = &[
    "Blue",
    "Green",
    "Red",
    "White",
    "Black",
    "Yellow",
    "Striped",
    "Speckled",
    "Small",
    "Large",
    "Classic",
    "Hand-made",
];

/// A kind of thing that the shop sells.
pub(crate) struct Kind {
    pub(crate) category: &'static str,
    /// What it may be made of.
    pub(crate) materials: &'static [&'static str],
    /// The thing.
    pub(crate) noun: &'static str,
    /// What it is good for.
    pub(crate) purpose: &'static str,
    /// About what it costs, in cents.
    pub(crate) cents: u64,
}

/// What the shop sells.
pub(crate) const KINDS: &[Kind] = &[
    Kind {
        category: "kitchen",
        materials: &["ceramic", "cast-iron", "glass"],
        noun: "teapot",
        purpose: "keeps tea warm through a long afternoon and pours without a drip",
        cents: 3_490,
    },
    Kind {
        category: "kitchen",
        materials: &["ceramic", "enamel", "bamboo"],
        noun: "bowl",
        purpose: "holds soup for two or salad for four",
        cents: 1_250,
    },
    Kind {
        category: "kitchen",
        materials: &["steel", "copper"],
        noun: "saucepan",
        purpose: "heats evenly, so that milk does not burn",
        cents: 4_900,
    },
    Kind {
        category: "kitchen",
        materials: &["oak", "walnut", "bamboo"],
        noun: "cutting board",
        purpose: "is kind to knives and easy to clean",
        cents: 2_750,
    },
    Kind {
        category: "garden",
        materials: &["terracotta", "zinc", "ceramic"],
        noun: "flower pot",
        purpose: "drains well and stands the winter outside",
        cents: 1_690,
    },
    Kind {
        category: "garden",
        materials: &["steel", "copper"],
        noun: "watering can",
        purpose: "has a long spout that reaches the last seedling",
        cents: 2_990,
    },
    Kind {
        category: "garden",
        materials: &["ash", "steel"],
        noun: "hand rake",
        purpose: "loosens the soil between roots",
        cents: 1_450,
    },
    Kind {
        category: "home",
        materials: &["wool", "cotton", "linen"],
        noun: "blanket",
        purpose: "warms on the sofa and packs small for a picnic",
        cents: 5_900,
    },
    Kind {
        category: "home",
        materials: &["linen", "cotton", "velvet"],
        noun: "cushion",
        purpose: "supports the back of everybody who reads too long",
        cents: 1_990,
    },
    Kind {
        category: "home",
        materials: &["brass", "paper", "glass"],
        noun: "reading lamp",
        purpose: "gives warm light on the page and leaves the room dark",
        cents: 6_450,
    },
    Kind {
        category: "home",
        materials: &["beeswax", "soy"],
        noun: "candle",
        purpose: "burns for forty hours and smells of honey and cedar",
        cents: 990,
    },
    Kind {
        category: "office",
        materials: &["recycled-paper", "leather", "linen"],
        noun: "notebook",
        purpose: "lies flat, takes ink well and has numbered pages",
        cents: 1_390,
    },
    Kind {
        category: "office",
        materials: &["brass", "walnut", "steel"],
        noun: "fountain pen",
        purpose: "writes a fine line and fills from any bottle",
        cents: 7_900,
    },
    Kind {
        category: "office",
        materials: &["cork", "felt"],
        noun: "desk mat",
        purpose: "quiets the keyboard and protects the table",
        cents: 2_290,
    },
    Kind {
        category: "travel",
        materials: &["canvas", "leather", "waxed-cotton"],
        noun: "backpack",
        purpose: "carries a laptop and a week of clothes through the rain",
        cents: 11_900,
    },
    Kind {
        category: "travel",
        materials: &["steel", "glass"],
        noun: "water bottle",
        purpose: "keeps cold for a day and hot for half a day",
        cents: 2_490,
    },
    Kind {
        category: "toys",
        materials: &["beech", "maple"],
        noun: "train set",
        purpose: "grows with every birthday and never needs a battery",
        cents: 4_290,
    },
    Kind {
        category: "toys",
        materials: &["wool", "cotton"],
        noun: "rabbit",
        purpose: "listens well and survives the washing machine",
        cents: 2_150,
    },
];

/// How descriptions end.
pub(crate) const REMARKS: &[&str] = &[
    "Made in a small workshop.",
    "Comes in a plain box without plastic.",
    "A favourite since the shop opened.",
    "Every piece is a little different.",
    "Can be repaired, and we have the parts.",
    "A present for people who have everything.",
];
