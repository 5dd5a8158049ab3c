//! Which playbook and artifact settings hold for an application.

/// The settings one layer may give; `None` leaves the choice to the next layer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SettingsLayer {
    /// The update playbook with its parameters.
    pub playbook_path: Option<String>,
    /// Where artifacts are listed or downloaded.
    pub artifact_url: Option<String>,
    /// The file extension of artifacts.
    pub artifact_extension: Option<String>,
}

impl SettingsLayer {
    /// The most characters of [`SettingsLayer::artifact_extension`] when a person says it.
    pub const EXTENSION_MAX: usize = 64;
}

/// The settings that hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveSettings {
    /// The update playbook with its parameters.
    pub playbook_path: String,
    /// Where artifacts are listed or downloaded.
    pub artifact_url: Option<String>,
    /// The file extension of artifacts.
    pub artifact_extension: Option<String>,
}

/// Takes each setting from the first layer that has it: instance, group, catalog, then the
/// configured `default_playbook`. Blank texts count as absent. Seed 001, "Settings priority".
#[must_use]
pub fn effective_settings(
    instance: &SettingsLayer,
    group: &SettingsLayer,
    catalog: &SettingsLayer,
    default_playbook: &str,
) -> EffectiveSettings {
    let first = |pick: fn(&SettingsLayer) -> &Option<String>| {
        [instance, group, catalog]
            .into_iter()
            .filter_map(|layer| pick(layer).clone())
            .find(|text| !text.trim().is_empty())
    };
    EffectiveSettings {
        playbook_path: first(|layer| &layer.playbook_path)
            .unwrap_or_else(|| default_playbook.to_owned()),
        artifact_url: first(|layer| &layer.artifact_url),
        artifact_extension: first(|layer| &layer.artifact_extension),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layer(playbook: Option<&str>) -> SettingsLayer {
        SettingsLayer {
            playbook_path: playbook.map(str::to_owned),
            ..SettingsLayer::default()
        }
    }

    #[test]
    fn a_blank_setting_does_not_hide_the_next_layer() {
        let settings = effective_settings(
            &layer(Some("  ")),
            &layer(None),
            &layer(Some("c.yml")),
            "d.yml",
        );
        assert_eq!(settings.playbook_path, "c.yml");
    }

    proptest! {
        #[test]
        fn the_first_layer_that_has_a_setting_gives_it(texts in proptest::array::uniform3(proptest::option::of("[a-z]{1,8}"))) {
            let [instance, group, catalog] = texts.clone().map(|text| SettingsLayer {
                playbook_path: text.clone(), artifact_url: text.clone(), artifact_extension: text,
            });
            let settings = effective_settings(&instance, &group, &catalog, "default.yml");
            let expected = texts.into_iter().flatten().next();
            prop_assert_eq!(&settings.playbook_path, expected.as_deref().unwrap_or("default.yml"));
            prop_assert_eq!(&settings.artifact_url, &expected);
            prop_assert_eq!(&settings.artifact_extension, &expected);
        }
    }
}
