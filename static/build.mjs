// Builds the pages into dist/ (or the folder named), which the binary embeds: dist/*.html, and dist/assets/ with a hash of its content in
// every name. The same sources make the same bytes: dist/ is part of the repository, and a test builds it again.
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import esbuild from 'esbuild';

const root = path.dirname(fileURLToPath(import.meta.url));
const dist = path.resolve(process.argv[2] ?? path.join(root, 'dist'));
const PAGES = ['dashboard', 'watch', 'publish', 'recording'];

await rm(dist, { recursive: true, force: true });
const { metafile } = await esbuild.build({
  absWorkingDir: root,
  entryPoints: [...PAGES.map((page) => `src/${page}.js`), 'src/css/app.css', 'src/favicon.svg'],
  outdir: path.join(dist, 'assets'),
  entryNames: '[name]-[hash]',
  chunkNames: '[name]-[hash]',
  loader: { '.svg': 'copy' },
  bundle: true,
  splitting: true, // hls.js is fetched by those who play HLS only
  format: 'esm',
  minify: true,
  legalComments: 'none',
  target: ['chrome100', 'firefox104', 'safari15.4'],
  metafile: true,
  logLevel: 'warning',
});

const outputs = Object.entries(metafile.outputs);
/** The URL of what a source became, and of the chunks it can't start without. */
function built(source) {
  const [file, output] = outputs.find(([, o]) => o.entryPoint === source) ?? outputs.find(([f, o]) => f.endsWith('.svg') && source in o.inputs);
  const url = (f) => `/static/${path.basename(f)}`;
  return { url: url(file), needs: output.imports.filter((i) => i.kind === 'import-statement').map((i) => url(i.path)) };
}

const icons = await readFile(path.join(root, 'src/icons.svg'), 'utf8');
await mkdir(dist, { recursive: true });
for (const page of PAGES) {
  const script = built(`src/${page}.js`);
  const head = [
    '<meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    '<meta name="color-scheme" content="dark light">',
    `<link rel="icon" href="${built('src/favicon.svg').url}" type="image/svg+xml">`,
    `<link rel="stylesheet" href="${built('src/css/app.css').url}">`,
    ...script.needs.map((url) => `<link rel="modulepreload" href="${url}">`),
    `<script type="module" src="${script.url}"></script>`,
  ].join('\n');
  const html = (await readFile(path.join(root, `src/pages/${page}.html`), 'utf8')).replace('<!-- head -->', () => head).replace('<!-- icons -->', () => icons);
  await writeFile(path.join(dist, `${page}.html`), html.replace(/^\s+/gm, ''));
}

const sizes = outputs.map(([file, { bytes }]) => `${path.basename(file)} ${(bytes / 1024).toFixed(0)} KiB`);
console.log(`pages: ${sizes.join(', ')}`);
