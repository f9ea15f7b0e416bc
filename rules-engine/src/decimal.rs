//! Numbers compared by their exact decimal value: `1.0` equals `1`, and two integers of 20 digits differ where one digit
//! does.

use std::cmp::Ordering;

/// The exact value of a JSON number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    negative: bool,
    /// Significant digits without leading or trailing zeros; none for zero.
    digits: Vec<u8>,
    /// The value is `0.digits` times ten to this power.
    exponent: i64,
}

impl Decimal {
    /// Reads the text of a JSON number.
    pub(crate) fn read(text: &str) -> Self {
        let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, power) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let leading = digits.iter().take_while(|&&digit| digit == b'0').count();
        digits.drain(..leading);
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        if digits.is_empty() {
            return Self { negative: false, digits, exponent: 0 };
        }
        // A power that does not fit is beyond all numbers that do; two of those compare by their digits.
        let beyond = if power.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
        let power: i64 =
            power.trim_start_matches('+').parse().unwrap_or(beyond).clamp(i64::MIN / 2, i64::MAX / 2);
        let shift = i64::try_from(whole.len()).unwrap_or(0) - i64::try_from(leading).unwrap_or(0);
        Self { negative, digits, exponent: power + shift }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |d: &Self| match (d.digits.is_empty(), d.negative) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => -1,
        };
        let by_size = || self.exponent.cmp(&other.exponent).then_with(|| self.digits.cmp(&other.digits));
        sign(self).cmp(&sign(other)).then_with(|| if self.negative { by_size().reverse() } else { by_size() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_form_of_a_number_does_not_matter_and_each_digit_does() {
        for (a, b) in
            [("1", "1.0"), ("300", "3e2"), ("0.001", "1E-3"), ("-0", "0.0"), ("12.50e1", "125"), ("0e9", "0")]
        {
            assert_eq!(Decimal::read(a), Decimal::read(b), "{a} {b}");
        }
        let ascending = [
            "-1e400",
            "-2",
            "-1.5",
            "0",
            "1e-400",
            "0.5",
            "1",
            "12345678901234567890",
            "12345678901234567891",
            "1e400",
        ];
        for pair in ascending.windows(2) {
            assert!(Decimal::read(pair[0]) < Decimal::read(pair[1]), "{pair:?}");
        }
        assert!(Decimal::read("1e99999999999999999999") > Decimal::read("1e400"));
        assert!(Decimal::read("1e-99999999999999999999") < Decimal::read("1e-400"));
    }

    proptest! {
        #[test]
        fn numbers_order_as_machine_numbers_do(a in any::<i32>(), b in any::<i32>(), shift in 0..4_u32) {
            let scale = 10_i64.pow(shift);
            let text = |n: i32| format!("{}{}.{:0width$}", if n < 0 { "-" } else { "" },
                i64::from(n).abs() / scale, i64::from(n).abs() % scale, width = shift.max(1) as usize);
            prop_assert_eq!(Decimal::read(&text(a)).cmp(&Decimal::read(&text(b))), a.cmp(&b));
        }
    }
}
