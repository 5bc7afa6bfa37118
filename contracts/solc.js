// Standard JSON on stdin, standard JSON on stdout; `--version` in the native compiler's words. Sources come inline;
// what a source outside forge's root imports is read from disk, as the native compiler does.
const fs = require("fs");
const path = require("path");
const root = process.env.TOLLWAY_ROOT || path.dirname(__dirname);
const solc = require(path.join(root, "node_modules", "solc"));

function read(name) {
  const base = process.argv[process.argv.indexOf("--base-path") + 1];
  const folder = process.argv.includes("--base-path") ? base : process.cwd();
  try {
    return { contents: fs.readFileSync(path.resolve(folder, name), "utf8") };
  } catch (error) {
    return { error: String(error) };
  }
}

if (process.argv.includes("--version")) {
  console.log("solc, the solidity compiler commandline interface\nVersion: " + solc.version());
} else {
  process.stdout.write(solc.compile(fs.readFileSync(0, "utf8"), { import: read }));
}
