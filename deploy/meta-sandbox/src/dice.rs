//! Chance that can be met again: numbers that follow from a seed, the same on every machine.

/// A sequence of even numbers (splitmix64: short, and good enough for shares and delays).
#[derive(Debug, Clone, Copy, Default)]
pub struct Dice(u64);

impl Dice {
    /// The sequence of one seed and one name, so that what befalls one pixel does not depend on its neighbours.
    pub fn of(seed: u64, name: &str) -> Self {
        // FNV-1a, to spread names over the seeds.
        let spread = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        Dice(name.bytes().fold(0xCBF2_9CE4_8422_2325 ^ seed.wrapping_mul(0x9E37_79B9_7F4A_7C15), spread))
    }

    /// The next number from 0 to below 1.
    pub fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The next number of the normal distribution around 0 (Box and Muller).
    pub fn roll_normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.roll()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.roll()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn a_seed_and_a_name_always_roll_the_same_and_others_differ() {
        let rolled = |seed, name| {
            let mut dice = Dice::of(seed, name);
            [dice.roll(), dice.roll(), dice.roll_normal()].map(f64::to_bits)
        };
        assert_eq!(rolled(1, "42"), rolled(1, "42"));
        for other in [rolled(2, "42"), rolled(1, "43"), rolled(0, "")] {
            assert_ne!(rolled(1, "42"), other);
        }
    }

    #[test]
    fn normal_numbers_have_mean_0_and_deviation_1() {
        let mut dice = Dice::of(7, "42");
        let rolled: Vec<f64> = (0..20_000).map(|_| dice.roll_normal()).collect();
        let mean = rolled.iter().sum::<f64>() / rolled.len() as f64;
        let variance = rolled.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / rolled.len() as f64;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "mean {mean}, variance {variance}");
    }
}
