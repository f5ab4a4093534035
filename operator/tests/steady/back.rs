//! etcd is set back to an older state under an operator that runs on.

use crate::process::Operator;
use crate::scenarios::{self, BY_SDK};
use crate::server::ApiServer;
use crate::stage::Stage;

pub async fn what_etcd_forgets_is_found_again(server: &mut ApiServer) {
    let mut stage = Stage::new(&server.client, &server.config).await;
    let operator = Operator::start(&stage.told, None);
    scenarios::has_one_table(&stage).await;
    server.stop();
    server.save();
    server.start_again().await;
    stage.create_table(BY_SDK).await;
    stage.until("both tables", scenarios::is_installed).await;
    server.stop();
    server.set_back();
    server.start_again().await;
    stage.restart_machines();
    // Nobody tells the operator anything: it notices by itself, and nodes know the table.
    stage.until("the forgotten table is adopted", scenarios::is_installed).await;
    assert_eq!(operator.starts(), 1);
    drop(operator);
    stage.nothing_is_broken();
}
