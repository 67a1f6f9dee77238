// What is on a page that we do not write, and what is so new that TypeScript's DOM lacks it.
interface Window {
  [name: string]: any;
}
interface Document {
  prerendering?: boolean;
}
interface Navigator {
  globalPrivacyControl?: boolean;
}
