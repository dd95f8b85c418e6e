//! Ways through other people's firewalls. Docker and ufw set the policy of `FORWARD` or `INPUT` to drop; what our own
//! table accepts is dropped there all the same.
//!
//! Rules of ours are put at the head of such chains and are told by their comment; nothing else in them is touched.
//! Only chains made through nftables are seen: those of the older iptables are not.

use super::nft::{self, Batch, Expr, REG, Verdict, link};
use std::io;

const TABLE: &str = "filter";

/// Which chains, and whether what leaves through the bridge passes them too.
const CHAINS: [(&str, bool); 2] = [("FORWARD", true), ("INPUT", false)];

/// Lets packets of the bridge through; nothing to do where nobody drops them.
pub fn ensure(bridge: &str) -> io::Result<()> {
    let comment = comment(bridge);
    for (chain, both_ways) in CHAINS {
        let is_open = nft::drops(TABLE, chain)? != Some(true);
        if is_open
            || nft::rules(TABLE, chain)?
                .iter()
                .any(|rule| rule.comment == comment)
        {
            continue;
        }
        let mut batch = Batch::new(TABLE);
        batch.insert_rule(chain, &accept(Expr::InputLink(REG), bridge), &comment);
        if both_ways {
            batch.insert_rule(chain, &accept(Expr::OutputLink(REG), bridge), &comment);
        }
        batch.commit()?;
    }
    Ok(())
}

/// Takes our rules away again.
pub fn remove(bridge: &str) -> io::Result<()> {
    let comment = comment(bridge);
    for (chain, _) in CHAINS {
        let rules = nft::rules(TABLE, chain)?;
        let ours = rules.iter().filter(|rule| rule.comment == comment);
        let mut batch = Batch::new(TABLE);
        let mut is_needed = false;
        for rule in ours {
            batch.delete_rule(chain, rule.handle);
            is_needed = true;
        }
        if is_needed {
            batch.commit()?;
        }
    }
    Ok(())
}

fn comment(bridge: &str) -> String {
    format!("kubik: {bridge}")
}

/// In the form that iptables itself would write, so that it can list the chain.
fn accept(load: Expr, bridge: &str) -> [Expr; 4] {
    [
        load,
        Expr::Equal(REG, link(bridge)),
        Expr::Counter,
        Expr::Verdict(Verdict::Accept),
    ]
}
