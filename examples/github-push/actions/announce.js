// Words the message that the team reads; a real one would send it to a chat from here.

function main({ repository, branch, by, titles, changed, link }) {
  const files = Object.entries(changed)
    .filter(([, names]) => names.length > 0)
    .map(([kind, names]) => `${names.length} ${kind}`);
  const lines = [
    `${by} pushed ${titles.length} commit${titles.length === 1 ? '' : 's'} to ${repository} (${branch}): ${files.join(', ') || 'no files'}`,
    ...titles.map((title) => `  - ${title}`),
    `  ${link}`,
  ];
  const message = lines.join('\n');
  console.log(message);
  return { message, repository, branch, commits: titles.length };
}
