// What is wrong with the lane, for its operator.
import { ask, begin, element, lasting, one, table, tiles } from "./account.js";

const ALARMS = [
  ["Alarm", (alarm) => element("span", { className: "mono" }, alarm.name)],
  ["What is wrong", (alarm) => alarm.message],
  ["Where", (alarm) => [alarm.account, alarm.receipt].filter(Boolean).join(" ")],
  ["What helps", (alarm) => alarm.remedy],
];
const GATEWAYS = [
  ["Gateway", (row) => element("span", { className: "mono" }, row.gateway)],
  ["Seen", (row) => `${lasting(row.seen_ms)} ago`],
];

begin(async () => {
  const found = await ask("/v1/alarms");
  tiles(one("lag"), [
    ["Oldest receipt not posted", lasting(found.unposted_ms)],
    ["Oldest receipt in no batch", lasting(found.unbatched_ms)],
    ["Oldest batch not on chain", lasting(found.uncommitted_ms)],
    ["Last block indexed", lasting(found.indexed_ms), "ago"],
    ["Challenges to answer", `${found.questions}`],
  ]);
  table(one("alarms"), ALARMS, found.data, "Nothing is wrong.");
  table(one("gateways"), GATEWAYS, found.gateways, "No gateway runs.");
});
