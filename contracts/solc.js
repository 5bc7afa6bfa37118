// Standard JSON on stdin, standard JSON on stdout; `--version` in the native compiler's words.
// Callers give every source inline (forge, py-solc-x with our build.py), so no import callback is needed.
const path = require("path");
const root = process.env.TOLLWAY_ROOT || path.dirname(__dirname);
const solc = require(path.join(root, "node_modules", "solc"));

if (process.argv.includes("--version")) {
  console.log("solc, the solidity compiler commandline interface\nVersion: " + solc.version());
} else {
  const input = require("fs").readFileSync(0, "utf8");
  process.stdout.write(solc.compile(input));
}
