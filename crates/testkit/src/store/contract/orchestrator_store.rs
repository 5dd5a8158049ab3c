//! What [`OrchestratorStore`](drover_ports::OrchestratorStore) promises.

use drover_ports::ScanOutcome;

use super::{ALL, two_after};
use crate::store::fixtures::{at, orchestrator};

contract! { $ orchestrator_store => orchestrator_store_contract for crate::store::World;
    /// A playbook that a scan found is read equal, and active.
    async fn a_found_playbook_is_read_equal(world) {
        let found = [orchestrator("a.yml", "1.0"), orchestrator("b.yml", "1.0")];
        let outcome = world.orchestrators().record_scan(&found, at(1)).await.unwrap();
        assert_eq!(outcome, ScanOutcome { new: 2, updated: 0 });
        let stored = world.orchestrators().find("a.yml").await.unwrap().unwrap();
        assert_eq!((stored.metadata, stored.is_active, stored.last_scanned), (found[0].clone(), true, at(1)));
        assert_eq!(world.orchestrators().find("nobody.yml").await.unwrap(), None);
    }

    /// A known playbook gets new metadata and keeps its key and whether it is active; others stay.
    async fn a_known_playbook_keeps_whether_it_is_active(world) {
        let first = [orchestrator("a.yml", "1.0"), orchestrator("b.yml", "1.0")];
        world.orchestrators().record_scan(&first, at(1)).await.unwrap();
        world.side_door().retire_orchestrator("a.yml").await;
        let before = world.orchestrators().list(ALL).await.unwrap().items;
        let second = [orchestrator("a.yml", "2.0"), orchestrator("c.yml", "1.0")];
        let outcome = world.orchestrators().record_scan(&second, at(2)).await.unwrap();
        assert_eq!(outcome, ScanOutcome { new: 1, updated: 1 });
        let after = world.orchestrators().find("a.yml").await.unwrap().unwrap();
        assert_eq!((after.key, after.is_active, after.last_scanned), (before[0].key, false, at(2)));
        assert_eq!(after.metadata, second[0]);
        assert_eq!(world.orchestrators().find("b.yml").await.unwrap().as_ref(), before.get(1));
    }

    /// A scan that finds what is known updates nothing, and says when it was.
    async fn an_equal_scan_updates_nothing(world) {
        let found = [orchestrator("a.yml", "1.0"), orchestrator("b.yml", "1.0")];
        world.orchestrators().record_scan(&found, at(1)).await.unwrap();
        let again = [found[0].clone(), orchestrator("b.yml", "2.0")];
        let outcome = world.orchestrators().record_scan(&again, at(2)).await.unwrap();
        assert_eq!(outcome, ScanOutcome { new: 0, updated: 1 });
        let outcome = world.orchestrators().record_scan(&again, at(3)).await.unwrap();
        assert_eq!(outcome, ScanOutcome::default());
        assert_eq!(world.orchestrators().find("a.yml").await.unwrap().unwrap().last_scanned, at(3));
    }

    /// A scan that found nothing changes nothing; one file found twice counts once.
    async fn empty_and_doubled_scans_are_fine(world) {
        assert_eq!(world.orchestrators().record_scan(&[], at(1)).await.unwrap(), ScanOutcome::default());
        let doubled = [orchestrator("a.yml", "1.0"), orchestrator("a.yml", "2.0")];
        let outcome = world.orchestrators().record_scan(&doubled, at(1)).await.unwrap();
        assert_eq!(outcome, ScanOutcome { new: 1, updated: 0 });
        assert_eq!(world.orchestrators().find("a.yml").await.unwrap().unwrap().metadata, doubled[1]);
    }

    /// The list goes by key, page by page.
    async fn the_list_goes_by_key(world) {
        for path in ["c.yml", "a.yml", "b.yml"] {
            world.orchestrators().record_scan(&[orchestrator(path, "1.0")], at(1)).await.unwrap();
        }
        let first = world.orchestrators().list(two_after(None)).await.unwrap();
        let rest = world.orchestrators().list(two_after(first.next)).await.unwrap();
        assert_eq!(rest.next, None);
        let paths: Vec<_> = first.items.into_iter().chain(rest.items).map(|found| found.metadata.file_path).collect();
        assert_eq!(paths, ["c.yml", "a.yml", "b.yml"]);
    }
}
