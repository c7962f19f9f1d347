//! Configuration records that ffmpeg 5.1 with libx264 made, and what ffprobe says of them.

pub(super) struct Sample {
    pub(super) name: &'static str,
    pub(super) avcc: &'static str,
    pub(super) size: (u32, u32),
    pub(super) profile: (u8, u8, u8),
    pub(super) fps: f64,
    pub(super) has_b_frames: u32,
    pub(super) sar: (u32, u32),
    pub(super) interlaced: bool,
}

pub(super) const SAMPLES: &[Sample] = &[
    Sample {
        name: "high, 1080p, cropped",
        avcc: "01640028ffe1001b67640028acd940780227e5c044000003000400000300f03c60c65801000668eae3cb22c0fdf8f800",
        size: (1920, 1080),
        profile: (100, 0, 40),
        fps: 30.0,
        has_b_frames: 2,
        sar: (1, 1),
        interlaced: false,
    },
    Sample {
        name: "constrained baseline, 360p",
        avcc: "0142c01effe100196742c01ed900a02ff97011000003000100000300320f162e4801000568cb83cb20",
        size: (640, 360),
        profile: (66, 0xC0, 30),
        fps: 25.0,
        has_b_frames: 0,
        sar: (1, 1),
        interlaced: false,
    },
    Sample {
        name: "main, NTSC rate, width not in macroblocks",
        avcc: "014d401fffe10017674d401feca06c1ef37808800001f480007530078c18cb01000568ebe3cb20",
        size: (854, 480),
        profile: (77, 0x40, 31),
        fps: 30_000.0 / 1001.0,
        has_b_frames: 2,
        sar: (1, 1),
        interlaced: false,
    },
    Sample {
        name: "high, 60 fps, no B-frames, odd size",
        avcc: "0164002affe100196764002aacb200ac0c3cde0220000003002000000f01e3064901000668ebc3cb22c0fdf8f800",
        size: (1366, 768),
        profile: (100, 0, 42),
        fps: 60.0,
        has_b_frames: 0,
        sar: (1, 1),
        interlaced: false,
    },
    Sample {
        name: "high 4:2:2",
        avcc: "017a000dffe10019677a000dbcd94141fb0110000003001000000303c0f142996001000668ebe3cb22c0fef8f800",
        size: (320, 240),
        profile: (122, 0, 13),
        fps: 30.0,
        has_b_frames: 2,
        sar: (1, 1),
        interlaced: false,
    },
    Sample {
        name: "high 4:4:4 predictive",
        avcc: "01f4000dffe1001a67f4000d919b282a10f1f1f80880000003008000001e078a14cb01000668ebe3c44844fff8f800",
        size: (322, 242),
        profile: (244, 0, 13),
        fps: 30.0,
        has_b_frames: 2,
        sar: (1, 1),
        interlaced: false,
    },
    Sample {
        name: "interlaced",
        avcc: "0164001effe100186764001eacd940b424d8088000000300800000190f8a14cb01000668fba3cb22c0fdf8f800",
        size: (720, 576),
        profile: (100, 0, 30),
        fps: 25.0,
        has_b_frames: 2,
        sar: (1, 1),
        interlaced: true,
    },
    Sample {
        name: "anamorphic",
        avcc: "014d401effe10018674d401eeca05a09360820000003002000000641e2c5b2c001000568ebe3cb20",
        size: (720, 576),
        profile: (77, 0x40, 30),
        fps: 25.0,
        has_b_frames: 2,
        sar: (16, 11),
        interlaced: false,
    },
];

pub(super) fn hex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
